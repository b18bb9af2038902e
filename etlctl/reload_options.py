"""What `etlctl reload` and `etlctl stack reload` take alike."""

from __future__ import annotations

from typing import Annotated

import typer

DEFAULT_TIMEOUT_SECONDS = 90

TimeoutSeconds = Annotated[
    int,
    typer.Option(
        "--timeout-seconds",
        metavar="SECONDS",
        min=0,
        help="How long is waited for workers that do not have it yet.",
    ),
]
