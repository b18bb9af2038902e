"""Writing etl.yaml and the secrets beside it: whole or not at all, and never over another."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from common.config import ExtractSettings, InfluxSettings, load_settings
from common.errors import ConfigError
from etlctl.init.answers import with_options
from etlctl.init.proposal import Proposal
from etlctl.init.sink import SinkFacts
from etlctl.init.source import SourceFacts
from etlctl.init.text import Connections, etl_yaml
from etlctl.whole_file import whole_file

# Where a token that was typed is kept, beside etl.yaml.
TOKEN_FILE = "secrets/influxdb_token"  # noqa: S105 (a path)

Model = TypeVar("Model", bound=BaseModel)


def refuse_if_there(file: Path, *, force: bool) -> None:
    """Raise :class:`ConfigError` where more than a configuration would be written over."""
    if file.exists() and not file.is_file():
        raise ConfigError(f"{file}: is there, and no regular file: --config names another")
    if os.path.lexists(file) and not force:
        raise ConfigError(
            f"{file}: is there already: --force writes over it, --config names another"
        )


def extract_settings(connections: Connections) -> ExtractSettings:
    """What Prometheus is asked with. Raises :class:`ConfigError`."""
    options = {
        "prometheus_url": "--prometheus-url",
        "replicas": "--prometheus-url",
        **dict.fromkeys(("sources", "name", "url"), "--source"),
        "auth": "--prometheus-username",
        **dict.fromkeys(connections.prometheus_header_files, "--prometheus-header-file"),
        **dict.fromkeys(connections.prometheus_params, "--prometheus-param"),
    } | {
        key: f"--prometheus-{key.replace('_', '-')}"
        for key in ("username", "password_file", "bearer_token_file", "ca_file")
    }
    return _valid(ExtractSettings, connections.extract, "extract", options)


def influx_settings(connections: Connections) -> InfluxSettings:
    """What InfluxDB is asked with. Raises :class:`ConfigError`."""
    options = {"": "--influxdb-username", "org": "--org", "bucket": "--bucket"} | {
        key: f"--influxdb-{key.replace('_', '-')}"
        for key in ("url", "token", "token_file", "username", "password_file", "ca_file")
    }
    content = dict(connections.influxdb)
    if connections.influxdb_token:
        content |= {"token": connections.influxdb_token}
        del content["token_file"]
    return _valid(InfluxSettings, content, "load", options)


def written(
    file: Path,
    connections: Connections,
    source: SourceFacts,
    sink: SinkFacts,
    proposal: Proposal,
    *,
    force: bool,
) -> None:
    """Write the configuration, after it was read as every command reads it.

    Raises :class:`ConfigError` for a file that cannot be written, or would not be valid.
    """
    text = etl_yaml(connections, source, sink, proposal)
    folder = file.absolute().parent
    with ExitStack() as undo:
        _make(folder, 0o755)
        if connections.influxdb_token:
            secret = folder / TOKEN_FILE
            _make(secret.parent, 0o700)
            _write(secret, f"{connections.influxdb_token}\n", replace=force, mode=0o600)
            undo.callback(secret.unlink, missing_ok=True)
        _check(folder, text)
        _write(file, text, replace=force, mode=0o644)
        undo.pop_all()


def _make(folder: Path, mode: int) -> None:
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be made: {error.strerror}") from None


def _write(file: Path, text: str, *, replace: bool, mode: int) -> None:
    try:
        with whole_file(file, replace=replace, mode=mode) as opened:
            opened.write(text.encode())
    except FileExistsError:
        refuse_if_there(file, force=False)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written: {error.strerror}") from None


def _check(folder: Path, text: str) -> None:
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=folder, prefix=".etl-", suffix=".yaml"
        ) as draft:
            draft.write(text)
            draft.flush()
            load_settings(Path(draft.name), environ={})
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written to: {error.strerror}") from None


def _valid(
    model: type[Model], content: dict[str, Any], section: str, options: dict[str, str]
) -> Model:
    context = {"secrets": None, "folder": Path.cwd(), "pending": None}
    try:
        return model.model_validate(content, context=context)
    except ValidationError as error:
        problems = []
        for details in error.errors(include_url=False, include_input=False):
            keys = [str(part) for part in details["loc"]]
            # Of a secret that its file makes unusable, the file's key is told.
            inner = details["ctx"]["problems"] if details["type"] == "problems" else ()
            last = keys[-1] if keys else ""
            told = [(str(one.path[-1]) if one.path else last, one.text) for one in inner]
            for key, text in told or [(last, details["msg"])]:
                where = options.get(key) or ".".join([section, *keys])
                problems.append(f"{where}: {with_options(text)}")
        raise ConfigError(*problems) from None
