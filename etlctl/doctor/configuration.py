"""The configuration file and its secrets."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from common.config import Settings, advice, load_settings
from common.errors import ConfigError
from etlctl.doctor.report import Report, Said, failure, ok, warning

SECTION = "configuration"
# The sections whose secrets are read apart from each other, so that one that is unfit leaves the
# others of use.
_PARTS = ("extract", "load", "pipeline")
_OF_SECRETS = ("password_file", "token_file", "key_file")


def read(report: Report, file: Path) -> dict[str, Settings]:
    """The settings, by the section whose secrets they were read with.

    Sections with a secret that cannot be used are missing; all are where the rest cannot be.
    """
    pending: list[str] = []
    try:
        settings = load_settings(file, pending=pending)
        found = dict.fromkeys(_PARTS, settings)
    except ConfigError as error:
        for problem in error.problems:
            report.add(SECTION, "file", failure(problem, "correct it there"))
        try:
            settings = load_settings(file, secrets=())
        except ConfigError:
            return {}
        found = {part: one for part in _PARTS if (one := _with_secrets(file, part)) is not None}
    else:
        tiers = ", ".join(settings.load.tiers)
        count = len(settings.extract.queries)
        queries = f"{count} {'query' if count == 1 else 'queries'}"
        report.add(SECTION, "file", ok(f"{file} is valid: {queries}, tiers {tiers}"))
        report.check(SECTION, "secrets", lambda: _secrets(settings, file, pending))
    for note in advice(settings):
        report.add(SECTION, "advice", warning(note, "docs/configuration.md describes the keys"))
    return found


def _with_secrets(file: Path, part: str) -> Settings | None:
    try:
        return load_settings(file, secrets=(part,), pending=[])
    except ConfigError:
        return None


def _secrets(settings: Settings, file: Path, pending: list[str]) -> Iterator[Said]:
    """Files that every user can read or change were refused before."""
    for sentence in pending:
        yield warning(sentence, "run it before the pipeline")
    kept = set(_secret_files(settings))
    if kept:
        yield ok(f"{len(kept)} in files, none of which every user can read or change")
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        text = file.read_text(encoding="utf-8", errors="replace")
        for key, secret in _written_out(settings):
            if secret in text:
                detail = f"{key} stands in {file}, which every user can read (mode {mode:04o})"
                named = key.replace(".headers.", ".header_files.")
                named = named if named != key else f"{key}_file"
                yield warning(detail, f"keep it in a file of mode 0600, named by {named}")


def _secret_files(section: BaseModel) -> Iterator[str]:
    for name, value in _keys(section):
        if isinstance(value, BaseModel):
            yield from _secret_files(value)
        elif value and name.endswith(_OF_SECRETS):
            yield value


def _written_out(section: BaseModel, place: str = "") -> Iterator[tuple[str, str]]:
    """Secrets that no file holds, by their keys."""
    for name, value in _keys(section):
        if isinstance(value, BaseModel):
            yield from _written_out(value, f"{place}{name}.")
        elif isinstance(value, SecretStr) and value and not getattr(section, f"{name}_file", None):
            yield f"{place}{name}", value.get_secret_value()


def _keys(section: BaseModel) -> Iterator[tuple[str, Any]]:
    """Each key with its value; of lists and mappings, such as sources and headers, each of it."""
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, tuple):
            yield from ((f"{name}[{number}]", one) for number, one in enumerate(value))
        elif isinstance(value, Mapping):
            yield from ((f"{name}.{key}", one) for key, one in value.items())
        else:
            yield name, value
