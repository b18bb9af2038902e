"""``etlctl``: the operator's command. Documented in docs/etlctl.md."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command of ``etlctl`` and exit."""
    if arguments is None:
        # What is imported takes a moment, and has nothing to clean up: a Ctrl-C ends the process,
        # without a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        # What is imported stays to the end of the process: looking for garbage in it, at the end
        # above all, is a sixth of what a short command costs.
        gc.disable()
    from etlctl.command_line import run
    from etlctl.commands import app_with
    from etlctl.completion import typed_words

    given = (typed_words() or sys.argv[1:]) if arguments is None else arguments
    app = app_with((next((word for word in given if not word.startswith("-")), ""),))
    if arguments is None:
        gc.freeze()
        gc.enable()
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run(app, "etlctl", arguments)


if __name__ == "__main__":
    main()
