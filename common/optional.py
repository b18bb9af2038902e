"""Modules that only some services install."""

from __future__ import annotations

import importlib
from typing import Any


def optional_module(name: str) -> Any | None:
    """The module, or None where it (or a package that it needs) is not installed.

    Named by a text, so that a service does not seem to depend on what it can do without.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
