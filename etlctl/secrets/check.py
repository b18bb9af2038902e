"""Which files there can be and should be, and whether each is private and up to date."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from common.errors import ConfigError
from common.secret_files import unlike_elsewhere
from etlctl.secrets import derived, tls
from etlctl.secrets.derived import Derived
from etlctl.secrets.folder import Folder
from etlctl.secrets.table import PASSWORD_OF

DERIVED = derived.PLAIN + derived.WITH_TLS
TLS_FILES = (*tls.FILES, *(one.name for one in derived.WITH_TLS))
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


def problems(folder: Folder, *, now: tls.Clock = tls.utc_now) -> list[str]:
    """One sentence for everything that is missing, open to others, empty, out of date, expiring."""
    found: list[str] = []
    if folder.is_open_to_others():
        found.append(f"{folder.path}: is open to others: chmod 700 {folder.path}")
    # What cannot be read is reported once, not again for everything that is made from it.
    unusable: set[str] = set()
    for name in expected(folder):
        why = _file_problem(folder, name)
        if why:
            found.append(why)
            unusable.add(name)
        elif name in PASSWORD_OF:
            departures = unlike_elsewhere(folder.read(name))
            found += (f"{folder.where(name)}: {one}: write it without" for one in departures)
    for one in derivations(folder):
        if not unusable & {one.name, *one.sources}:
            found += _derived_problems(folder, one)
    if uses_tls(folder) and not unusable & set(tls.FILES):
        try:
            found += tls.problems(folder, now)
        except ConfigError as error:
            found += error.problems
    return found


def _file_problem(folder: Folder, name: str) -> str | None:
    if not folder.has(name):
        return f"{folder.where(name)}: is missing: make it with `etlctl secrets init`"
    if why := folder.exposure(name):
        return why
    try:
        if name in PASSWORD_OF:
            folder.read_password(name)
        elif not folder.read(name).strip():
            return f"{folder.where(name)}: is empty"
    except ConfigError as error:
        return str(error)
    return None


def _derived_problems(folder: Folder, one: Derived) -> tuple[str, ...]:
    try:
        if derived.is_current(one, folder):
            return ()
    except ConfigError as error:
        return error.problems
    return (f"{folder.where(one.name)}: is out of date: renew it with `etlctl secrets init`",)
