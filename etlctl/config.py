"""``etlctl config``: validate the configuration without starting anything."""

from __future__ import annotations

from pathlib import Path

import typer
import yaml

from common.config import DEFAULT_PATH, advice, effective, load_settings
from common.errors import ConfigError
from common.exit_codes import ExitCode
from etlctl.options import AsJson, ConfigFile, group
from etlctl.output import is_printable, print_json, remark

config_app = group("Validate and show the configuration.")


@config_app.command("check")
def check(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Validate the configuration and all its secrets, and print what is in force.

    Secrets are masked. Ends with 2 and one line for each problem if there are any.
    """
    file = config or Path(DEFAULT_PATH)
    pending: list[str] = []
    try:
        settings = load_settings(file, pending=pending)
    except ConfigError as error:
        if not as_json:
            raise
        print_json({"file": str(file), "valid": False, "problems": list(error.problems)})
        raise typer.Exit(ExitCode.CONFIG) from None
    notes, in_force = [*advice(settings), *pending], effective(settings)
    if as_json:
        print_json({"file": str(file), "valid": True, "advice": notes, "settings": in_force})
        return
    text = yaml.safe_dump(in_force, sort_keys=False, allow_unicode=True)
    # Escaped as YAML has it, so that it can be read back whatever the encoding.
    typer.echo(text if is_printable(text) else yaml.safe_dump(in_force, sort_keys=False), nl=False)
    for note in notes:
        remark(f"note: {note}")
    count = len(settings.extract.queries)
    remark(f"{file} is valid: {count} {'query' if count == 1 else 'queries'}")
