"""Checking that every secret is there, private, and up to date."""

from __future__ import annotations

from common.errors import ConfigError
from etlctl.secrets import derived, tls
from etlctl.secrets.derived import Derived
from etlctl.secrets.folder import Folder
from etlctl.secrets.names import derivations, expected, uses_tls
from etlctl.secrets.table import PASSWORD_OF


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
