"""Making what is missing, and anew what no longer follows from its sources."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable

from etlctl.secrets import derived, tls
from etlctl.secrets.check import derivations
from etlctl.secrets.folder import Folder
from etlctl.secrets.table import PASSWORDS

# Means the same in a URL, in YAML, in a shell and in nginx.conf: nothing has to be quoted.
ALPHABET = string.ascii_letters + string.digits
LENGTH = 40  # 238 bits

MADE, KEPT, RENEWED = "made", "kept", "made anew"

Report = Callable[[str, str], None]
"""Called with (file, what was done) as soon as it was done."""


def new_password(choose: Callable[[str], str] = secrets.choice) -> str:
    """``LENGTH`` characters of ``ALPHABET``; ``choose`` picks one of a text."""
    return "".join(choose(ALPHABET) for _ in range(LENGTH))


def fill(folder: Folder, report: Report, *, with_tls: bool) -> None:
    """Make every file that is missing; no password, key or certificate that exists is touched.

    Raises :class:`~common.errors.ConfigError`.
    """
    for password in PASSWORDS:
        made = folder.create(password.name, new_password().encode())
        report(password.name, MADE if made else KEPT)
    if with_tls:
        for name, made in tls.complete(folder):
            report(f"{name}.crt", MADE if made else KEPT)
    derive(folder, report)


def derive(folder: Folder, report: Report) -> None:
    """Bring the derived files up to date. Raises :class:`~common.errors.ConfigError`."""
    for one in derivations(folder):
        if not folder.has(one.name):
            folder.create(one.name, derived.render(one, folder))
            report(one.name, MADE)
        elif derived.is_current(one, folder):
            report(one.name, KEPT)
        else:
            folder.replace(one.name, derived.render(one, folder))
            report(one.name, RENEWED)
