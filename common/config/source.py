"""Settings of a source: its address, and all that a request to it has besides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from common.config.fields import CheckedSection, Problem, url_checker
from common.config.headers import given_twice, header_files, header_texts
from common.config.mappings import FixedLabels, FixedParams
from common.config.source_auth import AuthSettings

check_url = url_checker(("http", "https"), "they belong in extract.auth")
SourceUrl = Annotated[str, AfterValidator(check_url)]
_proxy_url = url_checker(
    ("http", "https"), "name a proxy with a password in the variable https_proxy"
)
_proxy = AfterValidator(lambda url: url if url is None else _proxy_url(url))
_CREDENTIALS = "it belongs in extract.auth"
_headers = BeforeValidator(header_texts(_CREDENTIALS))
_header_files = BeforeValidator(header_files("extract", _CREDENTIALS))


class SourceKeys(CheckedSection):
    """What a source has besides its address, whether it is the only one or one of several."""

    replicas: tuple[SourceUrl, ...] = Field(
        (),
        description="Base URLs of servers that scrape the same (an HA pair), in the place of the "
        "source's URL, which is the first. A window is read from the one that holds most of it.",
    )

    auth: AuthSettings = Field(default_factory=AuthSettings, description="")
    headers: Annotated[dict[str, SecretStr], _headers] = Field(
        {},
        description="Headers of every request, such as `X-Scope-OrgID` with the tenant of Mimir or "
        "Cortex. Their values are shown nowhere. Those of authentication belong in `auth`.",
    )
    header_files: Annotated[dict[str, str], _header_files] = Field(
        {},
        description="Headers of every request whose values are in files, which are read anew for "
        "each.",
    )
    params: FixedParams = Field(
        {},
        description="Parameters in the URL of every request, such as `namespace` or `dedup`: text, "
        "or a list of it. With one of them nothing is read by remote read, which knows no "
        "parameters.",
    )
    proxy_url: Annotated[str | None, _proxy] = Field(
        None,
        description="Proxy on the way to Prometheus; without it the variables `http_proxy`, "
        "`https_proxy`, `all_proxy` and `no_proxy` count.",
    )
    labels: FixedLabels = Field(
        {},
        description="Labels that each series gets before relabelling, in the place of its own of "
        "these names.",
    )

    def _problems_with(self, url: str, key: str) -> Iterator[Problem]:
        """What is wrong with them for the source at ``url``, which ``key`` names."""
        if self.replicas and self.replicas[0] != url:
            yield Problem((key,), "is not the first of replicas: give one of both")
        if len(set(self.replicas)) < len(self.replicas):
            yield Problem(("replicas",), "has a URL twice")
        if len({one.partition(":")[0] for one in self.replicas}) > 1:
            yield Problem(("replicas",), "must all begin with http:// or all with https://")
        yield from given_twice(self.headers, self.header_files)
        if self.auth.server_name is not None and not url.startswith("https:"):
            yield Problem(
                ("auth", "server_name"),
                f"would never be used: {key} does not begin with https://",
            )


class SourceSettings(SourceKeys):
    """One of several sources."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_]*$",
        max_length=24,
        description="Name of the source: a query is extracted as `QUERY@NAME` from it.",
    )
    url: SourceUrl = Field(description="Its base URL, with its path prefix if it has one.")

    @model_validator(mode="before")
    @classmethod
    def _first_of_replicas(cls, given: Any) -> Any:
        return with_url(given, "url", lambda: given["replicas"][0])

    def _problems(self) -> Iterator[Problem]:
        yield from self._problems_with(self.url, "url")


def with_url(given: Any, key: str, found: Callable[[], Any]) -> Any:
    """``given`` with the URL that is found in another key, where it has none."""
    if not isinstance(given, dict) or key in given:
        return given
    if not given.get("replicas") and not given.get("sources"):
        return given
    try:
        url = check_url(found())
    except (PydanticCustomError, LookupError, TypeError, AttributeError):
        url = "http://invalid"  # which is told of where it stands
    return {**given, key: url}
