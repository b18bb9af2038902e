"""Overrides from the environment: ``ETL__LOAD__INFLUXDB__URL`` is ``load.influxdb.url``.

Lists and mappings are JSON. An empty variable is the same as none; ``null`` takes a key away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import create_model
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource

from common.config.fields import Path
from common.config.model import Settings
from common.config.text import shown

PREFIX = "ETL__"
DELIMITER = "__"
_SHOWN_CHARS = 120

# pydantic-settings reads variables for the fields of a BaseSettings. Ours is a plain model: one
# that reads os.environ whenever it is built cannot have its environment injected.
_Shape = create_model(  # type: ignore[call-overload]
    "_Shape",
    __base__=BaseSettings,
    **{name: (item.annotation, item) for name, item in Settings.model_fields.items()},
)


class _Source(EnvSettingsSource):
    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            # Validation says what it wanted, and the report names the variable.
            return value


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the environment sets, and which variable sets it."""

    data: dict[str, Any]
    names: dict[Path, str]

    def name(self, path: Path) -> str | None:
        """The variable that set ``path`` or a key above it."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.names:
                return self.names[path[:end]]
        return None

    def name_below(self, path: Path) -> str | None:
        """A variable that set a key below ``path``, as if ``path`` were a mapping."""
        for place, name in self.names.items():
            if place[: len(path)] == path:
                return name
        return None


def read_environment(environ: Mapping[str, str]) -> Overrides:
    """The overrides in ``environ``; names are compared without regard to case."""
    ours = {
        name: value for name, value in environ.items() if name.upper().startswith(PREFIX) and value
    }
    names: dict[Path, str] = {
        tuple(name[len(PREFIX) :].lower().split(DELIMITER)): shown(name, _SHOWN_CHARS)
        for name in ours
    }
    source = _Source(
        _Shape, case_sensitive=False, env_prefix=PREFIX, env_nested_delimiter=DELIMITER
    )
    source.env_vars = {
        name.lower(): None if value == "null" else value for name, value in ours.items()
    }
    data = source()
    # The source looks up known sections only; the others must still be refused by name.
    for name, value in ours.items():
        section = name[len(PREFIX) :].lower().split(DELIMITER)[0]
        if section not in Settings.model_fields:
            data[section] = value
    return Overrides(data, names)
