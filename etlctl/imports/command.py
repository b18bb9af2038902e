"""``etlctl import``: write an etl.yaml from telegraf.conf or from Prometheus' remote_write."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from common.config import load_settings
from common.errors import ConfigError
from common.exit_codes import ExitCode
from etlctl.imports.draft import Draft
from etlctl.imports.remote_write import read_remote_write
from etlctl.imports.telegraf import read_telegraf
from etlctl.options import AsJson
from etlctl.output import print_json, remark
from etlctl.whole_file import whole_file

_MAX_BYTES = 4 << 20

Source = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="telegraf.conf (TOML), or a prometheus.yml with remote_write (YAML).",
    ),
]
Output = Annotated[
    Path, typer.Option("--output", metavar="FILE", help="The file to write; - prints it.")
]
Prometheus = Annotated[
    str, typer.Option("--prometheus", metavar="URL", help="Prometheus, where FILE names none.")
]
InfluxDB = Annotated[
    str, typer.Option("--influxdb", metavar="URL", help="InfluxDB, where FILE names none.")
]
Org = Annotated[
    str, typer.Option("--org", metavar="ORG", help="Organisation, where FILE names none.")
]
Bucket = Annotated[
    str, typer.Option("--bucket", metavar="BUCKET", help="Bucket, where FILE names none.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace files that are there.")]


def import_(
    file: Source,
    output: Output = Path("etl.yaml"),
    prometheus: Prometheus = "",
    influxdb: InfluxDB = "",
    org: Org = "",
    bucket: Bucket = "",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write an etl.yaml from a telegraf.conf or a remote_write.

    FILE is one of the two: a prometheus.yml has the latter. What could not be carried is said.
    Secrets of FILE become files in the folder secrets beside it. Ends with 2 where FILE cannot be
    read, and where what was written is not valid yet: each problem is said.
    """
    draft = _read(file)
    draft.extract = {"prometheus_url": prometheus} | draft.extract if prometheus else draft.extract
    for key, value in (("url", influxdb), ("org", org), ("bucket", bucket)):
        if value and not draft.influxdb.get(key):
            draft.influxdb[key] = value
    settings = draft.settings()
    text = _document(draft, settings)
    problems = _problems(text)
    printed = str(output) == "-"
    written = [] if printed else _write(text, draft, output, force=force)
    if as_json:
        document = {"file": None if printed else str(output), "secrets": written[1:]}
        print_json(document | {"notes": draft.notes, "problems": problems, "settings": settings})
    else:
        _tell(draft, output, text if printed else "", written, problems)
    if problems:
        raise typer.Exit(ExitCode.CONFIG)


def _tell(draft: Draft, output: Path, text: str, written: list[str], problems: list[str]) -> None:
    if text:
        typer.echo(text, nl=False)
    for note in draft.notes:
        remark(f"note: {note}")
    for path in written:
        remark(f"{path} is written")
    for problem in problems:
        remark(f"to mend: {problem}")
    if text and draft.secrets:
        remark(f"not written: {', '.join(draft.secrets)}")
    elif not problems and not text:
        remark(f"next: etlctl config check --online --config {output}")


def _read(file: Path) -> Draft:
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{file} has more than {_MAX_BYTES >> 20} MiB")
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file} is not UTF-8") from None
    if file.suffix in (".yml", ".yaml"):
        return read_remote_write(text, str(file))
    return read_telegraf(text, str(file), os.environ)


def _document(draft: Draft, settings: dict[str, Any]) -> str:
    """The file: what was not carried stands on top, where the reader edits."""
    lines = [f"# Made from {Path(draft.source).name}; docs/configuration.md lists every key."]
    lines += [f"# {' '.join(note.split())}" for note in draft.notes]
    return "\n".join(lines) + "\n\n" + yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)


def _problems(text: str) -> list[str]:
    """What is not valid in the configuration that was made. Its secrets are not read."""
    with tempfile.TemporaryDirectory() as name:
        made = Path(name) / "etl.yaml"
        made.write_text(text, encoding="utf-8")
        try:
            load_settings(made, {}, secrets=())
        except ConfigError as error:
            return [line.replace(f"{made}:", "line ") for line in error.problems]
    return []


def _write(text: str, draft: Draft, output: Path, *, force: bool) -> list[str]:
    """The files that were written, the configuration first. None replaces another without force."""
    files = {output: text} | {output.parent / name: held for name, held in draft.secrets.items()}
    there = [str(path) for path in files if os.path.lexists(path)]
    if there and not force:
        raise ConfigError(*(f"{path} is there already: --force replaces it" for path in there))
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        if draft.secrets:
            (output.parent / "secrets").mkdir(mode=0o700, exist_ok=True)
        for path, content in files.items():
            with whole_file(path, replace=force, mode=0o644 if path == output else 0o600) as target:
                target.write(content.encode())
    except OSError as error:
        raise ConfigError(
            f"{error.filename or output} cannot be written: {error.strerror}"
        ) from None
    return [str(path) for path in files]
