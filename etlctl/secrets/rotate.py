"""Giving a secret a new value, and listing what has to happen for it to be used."""

from __future__ import annotations

from common.errors import ConfigError
from etlctl.secrets import tls
from etlctl.secrets.check import DERIVED, check_known, uses_tls
from etlctl.secrets.fill import KEPT, RENEWED, Report, derive, new_password
from etlctl.secrets.folder import Folder
from etlctl.secrets.table import PASSWORD_OF

HAND_OUT = "docker compose run --rm --no-deps secrets"
NAMES = (*PASSWORD_OF, tls.ALL_SERVERS, *tls.NAMES)


def rotate(folder: Folder, name: str, report: Report) -> list[str]:
    """Renew ``name`` and what follows from it; the commands that have to be run then, in order.

    Raises :class:`~common.errors.ConfigError`.
    """
    for one in DERIVED:
        if name == one.name:
            what = " and ".join(one.sources) or "nothing that changes"
            raise ConfigError(f"{name}: follows from {what}: `etlctl secrets init` renews it")
    check_known(name, NAMES)
    renew = _password if name in PASSWORD_OF else _certificates
    steps = renew(folder, name, report)
    derive(folder, lambda file, what: None if what == KEPT else report(file, what))
    return [HAND_OUT, *steps]


def _password(folder: Folder, name: str, report: Report) -> list[str]:
    password = PASSWORD_OF[name]
    if password.made_by_server:
        raise ConfigError(f"{name}: {password.made_by_server} (docs/security.md)")
    if not folder.has(name):
        raise ConfigError(f"{folder.where(name)}: is missing: make it with `etlctl secrets init`")
    folder.replace(name, new_password().encode())
    report(name, RENEWED)
    steps = [password.server_command] if password.server_command else []
    if password.restart:
        steps.append(f"docker compose restart {' '.join(password.restart)}")
    return steps


def _certificates(folder: Folder, name: str, report: Report) -> list[str]:
    if not uses_tls(folder):
        raise ConfigError(
            f"{name}: there are no certificates: make them with `etlctl secrets init --tls`"
        )
    renewed = tls.renew(folder, name)
    for each in renewed:
        report(f"{each}.crt", RENEWED)
    if name == tls.AUTHORITY:
        # Every service trusts the old authority until it is started again.
        return ["docker compose restart"]
    return [f"docker compose restart {' '.join(tls.SERVERS[each] for each in renewed)}"]
