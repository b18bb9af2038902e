"""``etlctl run``: all stages as processes of one command."""

from pathlib import Path

# Becomes the command that follows, and ends with the process that started it.
GUARD = Path(__file__).with_name("guard.py")
# A service scales by processes; polars' pool of threads would only cost memory.
STAGE_ENVIRON = {"PYTHONUNBUFFERED": "1", "POLARS_MAX_THREADS": "1"}
