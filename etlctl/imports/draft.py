"""What an import has found so far: settings, secrets, and what it could not carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from common.errors import ConfigError

PROMETHEUS_URL = "http://localhost:9090"
INFLUXDB_URL = "http://localhost:8086"


@dataclass
class Draft:
    """Sections of etl.yaml under construction; ``source`` names the file that is read."""

    source: str
    extract: dict[str, Any] = field(default_factory=dict)
    queries: list[dict[str, Any]] = field(default_factory=list)
    relabel: list[dict[str, Any]] = field(default_factory=list)
    influxdb: dict[str, Any] = field(default_factory=dict)
    layout: dict[str, Any] = field(default_factory=dict)
    # File, relative to etl.yaml → its content.
    secrets: dict[str, str] = field(default_factory=dict)
    # One sentence each: what was left out, or means something else than before.
    notes: list[str] = field(default_factory=list)

    def note(self, sentence: str) -> None:
        """Remember a sentence for the reader, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def secret(self, name: str, value: str, where: str) -> str:
        """The file for the secret ``name``, unwritten where ``value`` only refers to one."""
        if value.startswith(("@{", "$")) or "${" in value:
            self.note(f"{where} refers to {value}: write the secret to the file secrets/{name}")
        else:
            self.secrets[f"secrets/{name}"] = value + "\n"
        return f"secrets/{name}"

    def query(self, name: str, where: str, **keys: Any) -> None:
        """Add a query; a name that is taken gets a number."""
        taken = {query["name"] for query in self.queries}
        free = name
        while free in taken:
            free = f"{name}_{len(taken) + 1}" if free == name else f"{free}_"
        if free != name:
            self.note(f"{where}: the name {name} is taken; its measurement is {free} here")
        self.queries.append({"name": free, **keys})

    def constant(self, label: str, value: str) -> None:
        """Give a label to every series that has none of this name."""
        if "$" in value:
            value = value.replace("$", "$$")
        self.relabel.append(
            {"source_labels": [label], "regex": "", "target_label": label, "replacement": value}
        )

    def settings(self) -> dict[str, Any]:
        """The document of etl.yaml. What the file did not say gets a default, and a note."""
        extract, influxdb = dict(self.extract), dict(self.influxdb)
        if "prometheus_url" not in extract:
            self.note(f"no Prometheus is named: {PROMETHEUS_URL} is assumed (--prometheus URL)")
        for key, given, option in (
            ("url", INFLUXDB_URL, "--influxdb URL"),
            ("org", "-", "--org ORG"),
            ("bucket", "metrics", "--bucket BUCKET"),
        ):
            if not influxdb.get(key):
                influxdb[key] = given
                self.note(f"load.influxdb.{key} is not in the file: {given} is assumed ({option})")
        document: dict[str, Any] = {
            "extract": {"prometheus_url": PROMETHEUS_URL, **extract, "queries": self.queries}
        }
        if self.relabel:
            document["transform"] = {"relabel": self.relabel}
        document["load"] = {"influxdb": influxdb}
        if self.layout:
            document["load"]["layout"] = self.layout
        return document


class Table:
    """One table of the file, of which each key is taken once; what stays was not understood.

    ``where`` names it in what the reader is told; the whole file has none.
    """

    def __init__(self, values: object, where: str) -> None:
        if not isinstance(values, Mapping):
            raise ConfigError(f"{where or 'the file'} must be a table of keys")
        self._values = {str(key): value for key, value in values.items()}
        self.where = where

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def peek(self, key: str) -> object:
        """The value under ``key``, which stays."""
        return self._values.get(key)

    def take(self, key: str) -> object:
        """The value under ``key``, whatever it is."""
        return self._values.pop(key)

    def text(self, key: str, default: str = "") -> str:
        """The text under ``key``. Raises :class:`ConfigError` where it is none."""
        value = self._values.pop(key, None)
        if value is None:
            return default
        if not isinstance(value, str):
            raise ConfigError(f"{self.where}.{key} must be text")
        return value

    def texts(self, key: str) -> list[str]:
        """The list of text under ``key``. Raises :class:`ConfigError` where it is none."""
        value = self._values.pop(key, None)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise ConfigError(f"{self.where}.{key} must be a list of text")
        return value

    def flag(self, key: str) -> bool:
        """Whether ``key`` is true. Raises :class:`ConfigError` where it is neither."""
        value = self._values.pop(key, False)
        if not isinstance(value, bool):
            raise ConfigError(f"{self.where}.{key} must be true or false")
        return value

    def tables(self, key: str) -> list[Table]:
        """The tables under ``key``, one or several."""
        value = self._values.pop(key, None)
        many = value if isinstance(value, list) else [value]
        if value is None:  # also a key of YAML without a value
            many = []
        name = f"{self.where}.{key}" if self.where else key
        return [
            Table(each, f"{name}[{number}]" if len(many) > 1 else name)
            for number, each in enumerate(many)
        ]

    def table(self, key: str) -> Table:
        """The table under ``key``, an empty one where there is none."""
        (found, *_) = self.tables(key) or [Table({}, key)]
        return found

    def mapping(self, key: str) -> dict[str, str]:
        """The texts by name under ``key``."""
        table = self.table(key)
        return {name: table.text(name) for name in sorted(table.rest())}

    def rest(self) -> list[str]:
        """The keys that nobody took."""
        return list(self._values)

    def drop(self, *keys: str) -> None:
        """Take keys that need no counterpart."""
        for key in keys:
            self._values.pop(key, None)

    def note_rest(self, draft: Draft) -> None:
        """Tell the reader which keys were not carried."""
        if self._values:
            draft.note(f"{self.where}: not carried: {', '.join(sorted(self._values))}")
