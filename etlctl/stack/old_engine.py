"""What engines before 25 cannot do: they know no ``start_interval``, and compose refuses the file.

An override takes it out. The first check then comes one interval after the start, so the intervals
are short instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Engine 25; https://docs.docker.com/reference/compose-file/services/#healthcheck
START_INTERVAL_API = (1, 44)
QUICK_INTERVAL = "3s"


def override(config: Mapping[str, Any], api_version: str) -> str | None:
    """A compose file to lay over a project for an engine of ``api_version`` (``"1.41"``).

    ``config`` is what ``docker compose config --format json`` prints. None: nothing to change.
    """
    if tuple(int(part) for part in api_version.split(".")) >= START_INTERVAL_API:
        return None
    names = [
        name
        for name, service in config["services"].items()
        if "start_interval" in service.get("healthcheck", {})
    ]
    if not names:
        return None
    # Written by hand: !reset is a tag of compose's own, which YAML libraries do not write.
    change = f"{{start_interval: !reset null, interval: {QUICK_INTERVAL}}}"
    return "services:\n" + "".join(f"  {name}: {{healthcheck: {change}}}\n" for name in names)
