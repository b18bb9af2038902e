"""Reading the settings: file, then environment, then secrets, then every check, then one report."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from common.config.fields import Path
from common.config.mappings import TEXT_MAPPINGS
from common.config.model import Settings
from common.config.reading.environment import PREFIX, Overrides, read_environment
from common.config.reading.yaml_tree import MAX_BYTES, Located, dotted, read_yaml
from common.config.text import without_halves
from common.config.transform import RULE_TEXTS
from common.errors import ConfigError

DEFAULT_PATH = FilePath("config/etl.yaml")
PATH_VARIABLE = "ETL_CONFIG"

# What pydantic finds, as sentences about the key.
_WHOLE = {
    "missing": "is missing",
    "model_type": "must be a mapping of keys",
    "model_attributes_type": "must be a mapping of keys",
    "dict_type": "must be a mapping of keys",
    "string_type": "must be text: put it in quotes",
    "tuple_type": 'must be a list (in an environment variable: JSON such as ["a", "b"])',
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "finite_number": "must be a finite number",
}
_SECRET_WORDS = ("password", "token", "url", "secret")
_SHOWN_CHARS = 60
_SHOULD = re.compile("^(Input|String|Tuple|Dictionary) should")
# What pydantic puts behind a key that cannot be one.
_OF_A_KEY = "[key]"


def config_path(path: FilePath | None = None, environ: Mapping[str, str] | None = None) -> FilePath:
    """The file that :func:`load_settings` reads."""
    environ = os.environ if environ is None else environ
    return path or FilePath(environ.get(PATH_VARIABLE) or DEFAULT_PATH)


def file_digest(file: FilePath) -> str:
    """A short name of what the file holds; empty if it cannot be read."""
    try:
        with file.open("rb") as handle:
            content = handle.read(MAX_BYTES + 1)
    except (OSError, ValueError):
        return ""
    return hashlib.blake2s(content, digest_size=8).hexdigest()


def load_settings(
    path: FilePath | None = None,
    environ: Mapping[str, str] | None = None,
    secrets: Collection[str] | None = None,
    pending: list[str] | None = None,
) -> Settings:
    """Read and check the settings.

    ``path`` defaults to ``$ETL_CONFIG``, then to config/etl.yaml. ``secrets`` names the sections
    (``extract``, ``load``, ``pipeline``) whose secret files are read, and ``load.tls`` only those
    of TLS; None reads all of them, and what is not read stays empty. A secret file that is not
    there, but is made by a command, is no problem where there is a list ``pending``: it is added a
    sentence. Raises :class:`ConfigError` with one line for each problem.
    """
    environ = os.environ if environ is None else environ
    file = config_path(path, environ)
    located = read_yaml(_read(file), str(file), _as_written)
    broken: list[tuple[Path, str]] = []
    try:
        overrides = read_environment(environ)
        _prefer_environment(located.data, overrides.data)
        merged = without_halves(_merged(located.data, overrides.data), (), broken)
        data = _without_none(merged)
    except RecursionError:  # not the file: what is read of it is not nested so deeply
        raise ConfigError(f"environment: a variable {PREFIX}… is nested too deeply") from None
    report = _Report(str(file), located, overrides)
    problems = [(line, f"{file}:{line}: {text}") for line, text in located.problems]
    problems += [report.line(path, text) for path, text in broken]
    context = {
        "secrets": None if secrets is None else frozenset(secrets),
        "folder": file.absolute().parent,
        "pending": pending,
    }
    try:
        settings = Settings.model_validate(data, context=context)
    except ValidationError as error:
        problems += report.lines(error)
    if problems:
        raise ConfigError(*(text for _, text in sorted(problems, key=lambda problem: problem[0])))
    return settings


class _Report:
    def __init__(self, file: str, located: Located, overrides: Overrides) -> None:
        self.file, self.located, self.overrides = file, located, overrides

    def lines(self, error: ValidationError) -> Iterator[tuple[int, str]]:
        """``(line to sort by, text)`` of each problem."""
        for details in error.errors(include_url=False):
            if details["type"] == "default_factory_not_called":
                continue  # follows from another problem, which is in the list
            for path, text in _problems(details):
                yield self.line(path, text)

    def line(self, path: Path, text: str) -> tuple[int, str]:
        """The problem with the key at ``path``, with the place where it was written."""
        key = f"{dotted(path)}: " if path else ""
        variable = self.overrides.name(path)
        if variable is None and path not in self.located.lines and "missing" not in text:
            variable = self.overrides.name_below(path)
        if variable:
            # A JSON value inside a variable has keys of its own.
            return (1 << 30, f"environment variable {variable}: {key}{text}")
        line = self.located.line(path)
        if line is None:
            return (0, f"{self.file}: {key}{text}")
        return (line, f"{self.file}:{line}: {key}{text}")


def _problems(details: ErrorDetails) -> Iterator[tuple[Path, str]]:
    path = details["loc"]
    if path[-1:] == (_OF_A_KEY,):
        path = path[:-1]
    if details["type"] != "problems":
        yield path, _sentence(details, _suggestion(path))
        return
    for problem in details["ctx"]["problems"]:
        place = path
        for part in problem.path:
            place = place[:-1] if part == ".." else (*place, part)
        yield place, problem.text


def _sentence(details: ErrorDetails, suggestion: str | None) -> str:
    """What is wrong, as a sentence that follows the key's path and never quotes a secret."""
    kind = details["type"]
    if kind == "extra_forbidden":
        return "is an unknown key" + (f": did you mean {suggestion}?" if suggestion else "")
    if kind == "invalid":
        return details["msg"]
    text = _WHOLE.get(kind) or _SHOULD.sub("must", details["msg"].replace(" after validation", ""))
    if kind == "missing":
        return text
    key = str(details["loc"][-1]) if details["loc"] else ""
    value = details["input"]
    if any(word in key for word in _SECRET_WORDS) or not isinstance(value, str | int | float):
        return text
    shown = repr(value)
    if len(shown) > _SHOWN_CHARS:
        shown = f"{shown[:_SHOWN_CHARS]}…"
    return f"{text}, not {shown}"


def _suggestion(path: Path) -> str | None:
    """The known key that an unknown one is probably meant to be."""
    known: Any = Settings
    for part in path[:-1]:
        if isinstance(part, int):
            continue
        fields = getattr(known, "model_fields", {})
        known = _model_of(fields[part].annotation) if part in fields else known
    near = difflib.get_close_matches(str(path[-1]), getattr(known, "model_fields", {}), 1)
    return near[0] if near else None


def _model_of(annotation: Any) -> Any:
    if hasattr(annotation, "model_fields"):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if found := _model_of(argument):
            return found
    return None


def _as_written(path: Path) -> bool:
    """Whether a scalar is text whatever it looks like: in relabel rules, as Prometheus has it.

    And in mappings to text: headers, parameters, labels.
    """
    if path[:2] == ("extract", "sources"):
        path = ("extract", *path[3:])
    if path[:1] == ("extract",) and len(path) > 2 and path[1] in TEXT_MAPPINGS:
        return True
    if path[:2] == ("load", "influxdb") and len(path) > 3 and path[2] in TEXT_MAPPINGS:
        return True
    if path[:4] == ("extract", "auth", "oauth2", "endpoint_params"):
        return len(path) > 4
    if path[:2] != ("transform", "relabel"):
        return False
    key = path[3:]
    return (len(key) == 1 and key[0] in RULE_TEXTS) or (len(key) == 2 and key[0] == "source_labels")


def _read(file: FilePath) -> str:
    try:
        with file.open("rb") as handle:
            content = handle.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"{file}: cannot be read: {why} (name the file with --config or {PATH_VARIABLE})"
        ) from None
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{file}: is larger than {MAX_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(f"{file}:{line}: is not UTF-8 text") from None


def _prefer_environment(base: dict[str, Any], over: dict[str, Any]) -> None:
    """Let a secret from the environment replace the file's, in whichever of its two forms."""
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _prefer_environment(base[key], value)
        other = key.removesuffix("_file") if key.endswith("_file") else f"{key}_file"
        if other in base and other not in over:
            del base[other]


def _merged(base: Any, over: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    return base | {key: _merged(base.get(key), value) for key, value in over.items()}


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return value
