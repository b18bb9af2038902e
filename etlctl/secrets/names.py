"""Which files there should be, and which there can be."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from common.errors import ConfigError
from etlctl.secrets import derived, tls
from etlctl.secrets.derived import Derived
from etlctl.secrets.folder import Folder
from etlctl.secrets.table import PASSWORD_OF

DERIVED = derived.PLAIN + derived.WITH_TLS
ALL_FILES = (*PASSWORD_OF, *tls.FILES, *(one.name for one in DERIVED))


def expected(folder: Folder) -> Iterator[str]:
    """The files that should be there; those of TLS once there is any of them."""
    yield from PASSWORD_OF
    if uses_tls(folder):
        yield from tls.FILES
    yield from (one.name for one in derivations(folder))


def derivations(folder: Folder) -> tuple[Derived, ...]:
    """The derived files that should be there."""
    return DERIVED if uses_tls(folder) else derived.PLAIN


def uses_tls(folder: Folder) -> bool:
    """Whether certificates were made."""
    return any(folder.has(name) for name in tls.FILES)


def check_known(name: str, names: tuple[str, ...]) -> None:
    """Raises :class:`ConfigError` with the nearest known name for an unknown one."""
    if name in names:
        return
    near = difflib.get_close_matches(name, names, 1)
    hint = f": do you mean {near[0]}?" if near else f"; there are {', '.join(names)}"
    raise ConfigError(f"{name}: there is no such secret{hint}")
