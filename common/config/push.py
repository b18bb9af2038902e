"""Settings of ``extract.push``: where the extractor takes what Prometheus pushes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from common.config.fields import CheckedSection, Count, Host, Problem
from common.config.secrets import NO_SECRET, SecretFile, from_file, readable
from common.config.tls_files import key_of_certificate, without_certificate

_secret = BeforeValidator(from_file("extract"))
_file = AfterValidator(readable("extract"))
_key = AfterValidator(key_of_certificate("extract"))


class PushSettings(CheckedSection):
    """Where each extractor takes what Prometheus pushes by remote write, too: the samples that a
    `select` of the hot tier selects, seconds after their scrape.
    """

    host: Host = Field("0.0.0.0", min_length=1, description="Address that it listens on.")
    port: Count | None = Field(
        None,
        ge=0,
        le=65_535,
        description="Port for it, such as 8090; none = nothing is taken, 0 = a free one, which the "
        "log names.",
    )
    username: str = Field(
        "prometheus", min_length=1, description="User that the sender must show (HTTP basic)."
    )
    password_file: SecretFile = Field(None, description="File that holds `password`.")
    password: Annotated[SecretStr, _secret] = Field(
        NO_SECRET,
        description="Password that the sender must show; required with a port, because who can "
        "write here writes to the sink.",
    )
    cert_file: Annotated[str | None, _file] = Field(
        None,
        description="PEM file with the certificate that it shows: with it, senders must use TLS.",
    )
    key_file: Annotated[str | None, _key] = Field(
        None, description="PEM file with the key of `cert_file`, where that does not hold it."
    )

    def _problems(self) -> Iterator[Problem]:
        has_password = self.password_file is not None or self.password.get_secret_value()
        if self.port is not None and not has_password:
            yield Problem((), "has neither password nor password_file")
        yield from without_certificate(self.key_file, self.cert_file)
