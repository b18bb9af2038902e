"""promtool, which writes Prometheus' blocks."""

from __future__ import annotations

import subprocess
from pathlib import Path

from common.errors import StackError
from devtools.servers.binaries import Toolbox

_SECONDS = 300


def create_blocks(toolbox: Toolbox, openmetrics: Path, data_dir: Path) -> None:
    """Adds a file of OpenMetrics text to a Prometheus' data, as blocks.

    A server that runs meanwhile finds them only later, or when it is restarted. Raises
    :class:`StackError` with promtool's message.
    """
    promtool = toolbox.program("promtool")
    command = [
        str(promtool.path), "tsdb", "create-blocks-from", "openmetrics", "--quiet",
        str(openmetrics), str(data_dir),
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=promtool.environment(),
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StackError(f"promtool did not finish within {_SECONDS} s") from None
    if done.returncode:
        raise StackError(f"promtool refuses {openmetrics.name}: {done.stdout.strip()[-500:]}")
