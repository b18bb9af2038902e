"""Settings of TLS to a server, which source and sink have alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field, ValidationInfo, field_validator

from common.config.fields import Host, Problem, Section
from common.config.secrets import readable
from common.config.tls_files import authorities, key_of_certificate, without_certificate


class ClientTls(Section):
    """How we check who the server is, and show it who we are.

    ``tls_section``: whose service opens the files (:mod:`common.config.secrets`).
    """

    tls_section: ClassVar[str]

    ca_file: str | None = Field(
        None, description="PEM file with the authorities that may vouch for the server."
    )
    cert_file: str | None = Field(
        None, description="PEM file with our client certificate (and its key, without `key_file`)."
    )
    key_file: str | None = Field(None, description="PEM file with the key of `cert_file`.")
    server_name: Host | None = Field(
        None,
        description="Name that the server's certificate must have, and that is asked for (SNI), in "
        "the place of the URL's host.",
    )

    @field_validator("ca_file")
    @classmethod
    def _check_ca_file(cls, path: Any, info: ValidationInfo) -> Any:
        return authorities(cls.tls_section)(path, info)

    @field_validator("cert_file")
    @classmethod
    def _check_cert_file(cls, path: Any, info: ValidationInfo) -> Any:
        return readable(cls.tls_section)(path, info)

    @field_validator("key_file")
    @classmethod
    def _check_key_file(cls, path: Any, info: ValidationInfo) -> Any:
        return key_of_certificate(cls.tls_section)(path, info)

    def _tls_problems(self) -> Iterator[Problem]:
        return without_certificate(self.key_file, self.cert_file)
