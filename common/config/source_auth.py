"""Settings of ``extract.auth``: how we show Prometheus who we are, and how we check who it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from common.config.client_tls import ClientTls
from common.config.fields import CheckedSection, Flag, Problem, Section, url_checker
from common.config.mappings import TokenParams
from common.config.secrets import NO_SECRET, SecretFile, from_file
from common.config.tls_files import authorities

_secret = BeforeValidator(from_file("extract"))
_authorities = AfterValidator(authorities("extract"))
_token_url = url_checker(("http", "https"), "they belong in client_id and client_secret")


class OAuth2Settings(CheckedSection):
    """Where access tokens come from (OAuth 2, grant type ``client_credentials``)."""

    client_id: str = Field(min_length=1, description="Name of the client.")
    client_secret_file: SecretFile = Field(None, description="File that holds `client_secret`.")
    client_secret: Annotated[SecretStr, _secret] = Field(
        NO_SECRET, description="Secret of the client."
    )
    token_url: Annotated[str, AfterValidator(_token_url)] = Field(
        description="Address of the token endpoint. It is reached through the proxies of the "
        "environment alone."
    )
    scopes: tuple[str, ...] = Field((), description="Scopes that are asked for.")
    endpoint_params: TokenParams = Field(
        {}, description="More parameters for the token endpoint, such as `audience`."
    )
    ca_file: Annotated[str | None, _authorities] = Field(
        None, description="PEM file with the authorities that may vouch for the token endpoint."
    )

    def _problems(self) -> Iterator[Problem]:
        if self.client_secret_file is None and not self.client_secret.get_secret_value():
            yield Problem((), "has neither client_secret nor client_secret_file")
        if any(not scope or " " in scope for scope in self.scopes):
            yield Problem(("scopes",), "must be words without blanks, one for each entry")


class SourceCredentials(Section):
    """Who we are to Prometheus."""

    username: str | None = Field(
        None, min_length=1, description="User of HTTP basic authentication."
    )
    password_file: SecretFile = Field(None, description="File that holds `password`.")
    password: Annotated[SecretStr, _secret] = Field(
        NO_SECRET, description="Password of HTTP basic authentication."
    )
    bearer_token_file: SecretFile = Field(None, description="File that holds `bearer_token`.")
    bearer_token: Annotated[SecretStr, _secret] = Field(
        NO_SECRET, description="Bearer token, instead of a user."
    )
    oauth2: OAuth2Settings | None = Field(
        None,
        description="Bearer tokens from a token endpoint, instead of a user: kept until shortly "
        "before they expire, and renewed once where one is refused with 401.",
    )

    def _credential_problems(self) -> Iterator[Problem]:
        basic = self.username is not None
        password = self.password_file is not None or bool(self.password.get_secret_value())
        bearer = self.bearer_token_file is not None or bool(self.bearer_token.get_secret_value())
        if bearer and (basic or password):
            yield Problem((), "has both a user and a bearer token: keep one of them")
        elif self.oauth2 is not None and (basic or password or bearer):
            other = "a bearer token" if bearer else "a user"
            yield Problem((), f"has both {other} and oauth2: keep one of them")
        elif password and not basic:
            yield Problem((), "has a password but no username")
        elif basic and not password:
            yield Problem((), "has a username but neither password nor password_file")


# The keys of the later base come first.
class AuthSettings(ClientTls, SourceCredentials, CheckedSection):
    """How we show Prometheus who we are, and how we check who it is."""

    tls_section: ClassVar[str] = "extract"

    verify: Flag = Field(True, description="Whether the server's certificate is checked.")

    def _problems(self) -> Iterator[Problem]:
        yield from self._credential_problems()
        yield from self._tls_problems()
        if not self.verify and self.ca_file is not None:
            yield Problem(("verify",), "is false, so ca_file would never be used: keep one of them")
