"""Imports that cost less: packages of which only a part is loaded, and no search for garbage.

``import redis`` alone loads its asyncio half and its client of clusters, which nothing here uses.
So the ``__init__`` of each package below runs only when something is read from the package that is
in none of the modules named here. What is imported stays to the end of the process: looking for
garbage in it, at the end above all, takes as long as any package.
"""

from __future__ import annotations

import gc
import importlib
import sys
import threading
from collections.abc import Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

# Of each package, the modules that hold what is read from it while all is imported. Where another
# version has a name elsewhere, the ``__init__`` runs as it always did.
_HELD: Mapping[str, Mapping[str, str]] = {
    "asyncio": {
        "IncompleteReadError": "exceptions",
        "Lock": "locks",
        "StreamReader": "streams",
        "timeout": "timeouts",
    },
    "charset_normalizer": {"__version__": "version"},
    "html": {},
    "redis": {
        "Connection": "connection",
        "ConnectionPool": "connection",
        "Redis": "client",
        "SSLConnection": "connection",
        "UnixDomainSocketConnection": "connection",
        "WatchError": "exceptions",
    },
    "redis.asyncio": {},
}


class _Later(Loader):
    """Runs a package's ``__init__`` at the first name that is neither held nor a module of it."""

    def __init__(self, loader: Loader, held: Mapping[str, str]) -> None:
        self._loader, self._held = loader, held
        self._lock = threading.RLock()
        self._begun = False

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the package's own loader makes it."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Leave it empty for now."""
        vars(module)["__getattr__"] = lambda name: self._read(module, name)

    def _read(self, module: ModuleType, name: str) -> Any:
        holder = self._held.get(name)
        if holder is not None:
            found = importlib.import_module(f"{module.__name__}.{holder}")
            if hasattr(found, name):
                return getattr(found, name)
        if PathFinder.find_spec(f"{module.__name__}.{name}", module.__path__) is not None:
            return importlib.import_module(f"{module.__name__}.{name}")
        with self._lock:
            if not self._begun:
                self._begun = True
                self._loader.exec_module(module)
                del vars(module)["__getattr__"]
        try:
            return vars(module)[name]
        except KeyError:
            text = f"module {module.__name__!r} has no attribute {name!r}"
            raise AttributeError(text) from None


class _Finder(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        held = _HELD.get(name)
        spec = None if held is None else PathFinder.find_spec(name, path, target)
        # What is no package is left to the finders that come after.
        if held is None or spec is None or spec.submodule_search_locations is None:
            return None
        if spec.loader is not None:
            spec.loader = _Later(spec.loader, held)
        return spec


def begin() -> None:
    """Before the imports of a process; :func:`end` follows."""
    gc.disable()
    sys.meta_path.insert(0, _Finder())


def end() -> None:
    """All is imported; nothing happens where it was not begun."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
