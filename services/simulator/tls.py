"""The TLS side of the simulator's HTTP."""

from __future__ import annotations

import ssl
from pathlib import Path

from common.errors import ConfigError
from common.secret_files import check_secret_mode


def server_context(cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """A context that shows the chain in ``cert_file``.

    Raises :class:`ConfigError` if certificate or key cannot be used, or the key is open to
    everybody.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        check_secret_mode(key_file)
    except ValueError as error:
        raise ConfigError(f"simulator: SIMULATOR_TLS_KEY_FILE (--tls-key-file): {error}") from None
    try:
        # Asked for a passphrase, OpenSSL would otherwise wait at the terminal.
        context.load_cert_chain(cert_file, key_file, password=_no_passphrase)
    except (OSError, ValueError) as error:
        # OpenSSL says neither which of the files it means nor, often, what is wrong with it.
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"simulator: TLS with {cert_file} and {key_file}: {why}") from None
    return context


def _no_passphrase() -> str:
    raise ValueError("the key must not have a passphrase")
