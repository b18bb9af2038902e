"""Files that are made from other secrets: Prometheus' web configuration and its health check's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import bcrypt
import yaml

from common.errors import ConfigError
from etlctl.secrets.folder import Folder
from etlctl.secrets.table import CONTAINER_FOLDER

BCRYPT_COST = 10  # 51 ms for each new connection, one at a time; Prometheus takes it under a mutex
MAX_BCRYPT_BYTES = 72

# Prometheus' user to the secret that holds the password.
USERS = {"admin": "prometheus_admin_password", "readonly": "prometheus_readonly_password"}

_HEADER = "# Made by `etlctl secrets init` from other secrets, and made anew when they change.\n"


@dataclass(frozen=True, slots=True)
class Derived:
    """A file; ``document`` is its content beside the users, if it has the ``sources`` of those."""

    name: str
    sources: tuple[str, ...]
    document: Mapping[str, Any]


_CLIENT = {
    "basic_auth": {
        "username": "readonly",
        "password_file": f"{CONTAINER_FOLDER}/prometheus_readonly_password",
    }
}
WEB = Derived("prometheus_web.yml", tuple(USERS.values()), {})
CLIENT = Derived("prometheus_client.yml", (), _CLIENT)
WEB_TLS = Derived(
    "prometheus_web_tls.yml",
    tuple(USERS.values()),
    {
        "tls_server_config": {
            "cert_file": f"{CONTAINER_FOLDER}/tls_prometheus.crt",
            "key_file": f"{CONTAINER_FOLDER}/tls_prometheus.key",
        }
    },
)
CLIENT_TLS = Derived(
    "prometheus_client_tls.yml",
    (),
    _CLIENT | {"tls_config": {"ca_file": f"{CONTAINER_FOLDER}/tls_ca.crt"}},
)

PLAIN = (WEB, CLIENT)
WITH_TLS = (WEB_TLS, CLIENT_TLS)


def render(derived: Derived, folder: Folder) -> bytes:
    """The file's content, with new salts. Raises :class:`ConfigError` for unusable sources."""
    document = dict(derived.document)
    if derived.sources:
        document["basic_auth_users"] = {
            user: _hash(folder, source) for user, source in USERS.items()
        }
    return (_HEADER + yaml.safe_dump(document, sort_keys=False)).encode()


def is_current(derived: Derived, folder: Folder) -> bool:
    """Whether the file follows from its sources: each hash is tried against its password."""
    try:
        document = yaml.safe_load(folder.read(derived.name))
    except (yaml.YAMLError, UnicodeDecodeError):
        return False
    if not isinstance(document, dict):
        return False
    users = document.pop("basic_auth_users", {})
    if document != derived.document:
        return False
    wanted = USERS if derived.sources else {}
    if not isinstance(users, dict) or users.keys() != wanted.keys():
        return False
    return all(_fits(folder, source, users[user]) for user, source in wanted.items())


def _hash(folder: Folder, source: str) -> str:
    return bcrypt.hashpw(_password(folder, source), bcrypt.gensalt(BCRYPT_COST)).decode()


def _fits(folder: Folder, source: str, digest: object) -> bool:
    if not isinstance(digest, str) or not digest.startswith(f"$2b${BCRYPT_COST:02}$"):
        return False
    try:
        return bcrypt.checkpw(_password(folder, source), digest.encode())
    except ValueError:  # not a hash at all
        return False


def _password(folder: Folder, source: str) -> bytes:
    password = folder.read_password(source).encode()
    if len(password) > MAX_BCRYPT_BYTES:
        raise ConfigError(
            f"{folder.where(source)}: is longer than {MAX_BCRYPT_BYTES} bytes, which bcrypt would "
            "cut off"
        )
    return password
