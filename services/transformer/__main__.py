"""``python -m services.transformer``: the transformer as a process."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take long
    from common import lean_imports
    from common.runtime.early_signals import end_at_once

    end_at_once(reads_again=True)
    lean_imports.begin()

from common.exit_codes import ExitCode
from common.runtime.service import Service, run
from common.runtime.wiring import open_stream, run_stage
from common.state.keys import POINTS, RAW
from services.transformer.transform import TransformHandler


def main(service: Service) -> ExitCode:
    """Turn raw entries into points entries until the service stops."""
    handler = TransformHandler.from_settings(service.settings)
    return run_stage(service, open_stream(service.settings, handler.stage, RAW, POINTS), handler)


if __name__ == "__main__":
    run("transformer", main)
