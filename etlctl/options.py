"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        envvar="ETL_CONFIG",
        help="Configuration file; config/etl.yaml if neither this nor ETL_CONFIG says otherwise.",
        show_default=False,
        show_envvar=False,
    ),
]

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
