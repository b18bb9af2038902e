"""``python -m devtools.kubernetes install|render``: `make manifests`, `make manifests-check`."""

from __future__ import annotations

import sys

from devtools import PROJECT_ROOT
from devtools.kubernetes.rendered import MANIFESTS, render
from devtools.kubernetes.tools import ToolError, install


def main(arguments: list[str]) -> int:
    """Install the tools; then render the plain manifests, if that is what is asked for."""
    if arguments not in (["install"], ["render"]):
        print("usage: python -m devtools.kubernetes install|render", file=sys.stderr)
        return 2
    try:
        install()
        if arguments == ["render"]:
            MANIFESTS.write_text(render(), encoding="utf-8")
            print(f"kubernetes: {MANIFESTS.relative_to(PROJECT_ROOT)}")
    except ToolError as error:
        print(f"kubernetes: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
