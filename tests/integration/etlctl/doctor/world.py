"""A configuration on real servers, and what the doctor says of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.support.secret_folders import Capture, run

UP = {"name": "health", "expr": "up", "step": "1s"}
RAW = {"name": "raw", "select": 'prometheus_build_info{job="prometheus"}'}


@dataclass
class World:
    """``changes`` are keys of the configuration, with dots, and their values."""

    folder: Path
    capsys: Capture
    prometheus_url: str
    redis_url: str
    influx_url: str
    database: str
    queries: list[dict[str, Any]] = field(default_factory=lambda: [UP, RAW])
    changes: dict[str, Any] = field(default_factory=dict)
    code: int = 0
    document: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.folder / "etl.yaml"

    def write(self) -> None:
        document: dict[str, Any] = {
            "extract": {
                "prometheus_url": self.prometheus_url,
                "settle_seconds": 5,
                "queries": self.queries,
            },
            "load": {"influxdb": {"url": self.influx_url, "org": "o", "bucket": self.database}},
            "pipeline": {"interval_seconds": 5},
        }
        if self.redis_url:
            document["pipeline"]["redis_url"] = self.redis_url
        for place, value in self.changes.items():
            *parents, last = place.split(".")
            section = document
            for parent in parents:
                section = section.setdefault(parent, {})
            section[last] = value
        self.config.write_text(yaml.safe_dump(document), encoding="utf-8")

    def look(self, *sections: str) -> dict[tuple[str, str], tuple[str, str]]:
        """``(section, check)`` → level and ``detail → do``; of several the worst."""
        self.write()
        only = [word for section in sections for word in ("--only", section)]
        code, out, err = run(self.capsys, "doctor", "--json", "--config", str(self.config), *only)
        assert "Traceback" not in err
        self.code, self.document = code, json.loads(out)
        found: dict[tuple[str, str], tuple[str, str]] = {}
        for level in ("ok", "warning", "failure"):
            for one in self.document["findings"]:
                if one["level"] == level:
                    text = f"{one['detail']} → {one['do']}"
                    found[one["section"], one["check"]] = level, text
        return found

    def of(self, section: str) -> dict[str, tuple[str, str]]:
        """What one section says, by check."""
        return {check: said for (_, check), said in self.look(section).items()}
