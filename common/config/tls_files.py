"""Files of TLS: whether a service can use them is known before it starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from pydantic import ValidationInfo

from common.config.fields import Problem, invalid, problems_error
from common.config.secrets import Validator, is_read, readable

T = TypeVar("T")


def authorities(section: str) -> Validator:
    """A validator of paths to files with the certificates of authorities, in PEM."""
    read = readable(section)

    def check(path: Any, info: ValidationInfo) -> Any:
        path = read(path, info)
        if path is not None and is_read(f"{section}.tls", info):
            import ssl  # most configurations name no such file

            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            if why := _why_not(lambda: context.load_verify_locations(path)):
                raise invalid(f"names {path}, which holds no certificate that can be used: {why}")
        return path

    return check


def key_of_certificate(section: str) -> Validator:
    """A validator of ``key_file``: it fits ``cert_file``, which holds it where it is not given."""
    read = readable(section)

    def check(path: Any, info: ValidationInfo) -> Any:
        path, certificate = read(path, info), info.data.get("cert_file")
        if certificate is not None and is_read(f"{section}.tls", info):
            import ssl

            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            # Asked for a passphrase, OpenSSL would otherwise wait at the terminal.
            why = _why_not(lambda: context.load_cert_chain(certificate, path, _no_passphrase))
            if why:
                files = certificate if path is None else f"{certificate} and {path}"
                text = f"names {files}: no certificate with its key that can be used: {why}"
                problem = problems_error([Problem(("..", "cert_file"), text)])
                assert problem is not None
                raise problem
        return path

    return check


def without_certificate(key_file: str | None, cert_file: str | None) -> Iterator[Problem]:
    """The ``key_file`` of a section that names no ``cert_file``."""
    if key_file is not None and cert_file is None:
        yield Problem(("key_file",), "is given without cert_file")


def _no_passphrase() -> str:
    raise ValueError("the key must not have a passphrase")


def _why_not(load: Callable[[], T]) -> str | None:
    """What OpenSSL says against a file; None if nothing."""
    try:
        load()
    except (OSError, ValueError) as error:
        # It says neither which of the files it means nor, often, what is wrong with it.
        return getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return None
