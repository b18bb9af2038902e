"""``etlctl config``: validate the configuration without starting anything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import yaml

from common.config import DEFAULT_PATH, Settings, advice, effective, load_settings
from common.errors import ConfigError
from common.exit_codes import ExitCode
from etlctl.options import AsJson, ConfigFile, group
from etlctl.output import is_printable, print_json, remark

Online = Annotated[
    bool,
    typer.Option(
        "--online",
        help="Also ask Prometheus whether each query matches a series, and fits its tiers.",
    ),
]

config_app = group("Validate and show the configuration.")


@config_app.command("check")
def check(config: ConfigFile = None, online: Online = False, as_json: AsJson = False) -> None:
    """Validate configuration and secrets; print what is in force.

    Secrets are masked. Ends with 2 and one line for each problem if there are any; with --online
    also for a tier that is finer than its samples are scraped, and with 3 when Prometheus cannot be
    reached.
    """
    file = config or Path(DEFAULT_PATH)
    pending: list[str] = []
    try:
        settings = load_settings(file, pending=pending)
        warnings = _query_warnings(settings) if online else {}
    except ConfigError as error:
        if not as_json:
            raise
        said = {"problems": list(error.problems), "exit_code": int(ExitCode.CONFIG)}
        print_json({"file": str(file), "valid": False, **said})
        raise typer.Exit(ExitCode.CONFIG) from None
    notes, in_force = [*advice(settings), *pending], effective(settings)
    if as_json:
        document = {"file": str(file), "valid": True, "advice": notes, "settings": in_force}
        print_json(document | ({"query_warnings": warnings} if online else {}))
        return
    text = yaml.safe_dump(in_force, sort_keys=False, allow_unicode=True)
    # Escaped as YAML has it, so that it can be read back whatever the encoding.
    typer.echo(text if is_printable(text) else yaml.safe_dump(in_force, sort_keys=False), nl=False)
    for note in notes:
        remark(f"note: {note}")
    for name, warning in warnings.items():
        remark(f"warning: query {name}: {warning}")
    remark(f"{file} is valid: {_counted(settings)}")


def _counted(settings: Settings) -> str:
    count, shard = len(settings.extract.every_query), settings.pipeline.shard
    counted = f"{count} {'query' if count == 1 else 'queries'}"
    return f"{len(settings.extract.queries)} of {counted}, shard {shard}" if shard else counted


def _query_warnings(settings: Settings) -> dict[str, str]:
    from etlctl.config_online import query_warnings

    return query_warnings(settings)
