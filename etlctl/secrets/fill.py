"""Making what is missing, and anew what no longer follows from its sources."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

from etlctl.secrets import derived, tls
from etlctl.secrets.folder import Folder
from etlctl.secrets.names import derivations, expected
from etlctl.secrets.passwords import Choose, new_password
from etlctl.secrets.table import PASSWORDS

Tell = Callable[[str, str], None]
"""Called with (file, what was done) as soon as it was done."""

MADE, KEPT, RENEWED = "made", "kept", "made anew"


def fill(
    folder: Folder,
    tell: Tell,
    *,
    with_tls: bool,
    now: tls.Clock = tls.utc_now,
    choose: Choose = secrets.choice,
) -> None:
    """Make every file that is missing; no password, key or certificate that exists is touched.

    Raises :class:`~common.errors.ConfigError`.
    """
    for password in PASSWORDS:
        made = folder.create(password.name, new_password(choose).encode())
        tell(password.name, MADE if made else KEPT)
    if with_tls:
        for name, made in tls.complete(folder, now):
            tell(f"{name}.crt", MADE if made else KEPT)
    derive(folder, tell)


def derive(folder: Folder, tell: Tell) -> None:
    """Bring the derived files up to date. Raises :class:`~common.errors.ConfigError`."""
    for one in derivations(folder):
        if not folder.has(one.name):
            folder.create(one.name, derived.render(one, folder))
            tell(one.name, MADE)
        elif derived.is_current(one, folder):
            tell(one.name, KEPT)
        else:
            folder.replace(one.name, derived.render(one, folder))
            tell(one.name, RENEWED)


def exposed(folder: Folder) -> Iterator[str]:
    """One sentence for each file that others can read, or that is no plain file of the owner's."""
    for name in expected(folder):
        if folder.has(name) and (why := folder.exposure(name)):
            yield why
