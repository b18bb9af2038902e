"""Who is notified: contact points from the environment and from secret files.

An address is no secret and comes from a variable. What lets its holder send in our name (a Slack
webhook, an integration key, a token) lies in a file of the secrets' folder. A receiver is
configured if its address is there, and only those that are get rendered, because one setting that
Grafana does not accept keeps it from loading anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import ConfigError
from deploy.image.receiver_secrets import SECRET_FILES, bad_url, named_in, problem_with
from monitoring.model import Severity

SEVERITIES: tuple[Severity, ...] = ("critical", "warning")

EMAIL_TO = "ALERT_EMAIL_TO"
WEBHOOK_URL = "ALERT_WEBHOOK_URL"
SEVERITIES_OF = {
    "email": "ALERT_EMAIL_SEVERITIES",
    "webhook": "ALERT_WEBHOOK_SEVERITIES",
    "slack": "ALERT_SLACK_SEVERITIES",
    "pagerduty": "ALERT_PAGERDUTY_SEVERITIES",
}
_DEFAULT_SEVERITIES = {"pagerduty": ("critical",)}
_ADDRESS = re.compile(r"[^@\s;,$<>\"']+@[^@\s;,$<>\"']+")


@dataclass(frozen=True, slots=True)
class Receivers:
    """What is configured; ``severities`` are what each kind is notified of.

    ``files`` are the kinds of SECRET_FILES whose secret exists: Grafana reads it, not we.
    """

    email_to: tuple[str, ...] = ()
    webhook_url: str | None = None
    files: frozenset[str] = frozenset()
    severities: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def kinds(self, severity: str) -> tuple[str, ...]:
        """The configured kinds that are notified of this severity."""
        there = {
            "email": bool(self.email_to),
            "webhook": self.webhook_url is not None or "webhook" in self.files,
            "slack": "slack" in self.files,
            "pagerduty": "pagerduty" in self.files,
        }
        return tuple(
            kind
            for kind, exists in there.items()
            if exists and severity in self.severities.get(kind, SEVERITIES)
        )

    @property
    def summary(self) -> str:
        """Who is notified of what, in a sentence."""
        told = [f"{severity}: {', '.join(kinds)}" for severity in SEVERITIES
                if (kinds := self.kinds(severity))]  # fmt: skip
        if not told:
            return "No receiver is configured: alerts are shown, and sent to nobody."
        return f"Sent are {'; '.join(told)}."


def receivers_from(environ: Mapping[str, str], secrets: Path) -> Receivers:
    """What the variables ``ALERT_…`` and the files in ``secrets`` configure.

    Where compose is to find a secret (``ALERT_SLACK_URL_FILE``) is looked at by file_problems.

    Raises :class:`ConfigError` with one line for each problem.
    """
    problems: list[str] = []
    known = {EMAIL_TO, WEBHOOK_URL, *SEVERITIES_OF.values()}
    mounted = {file_variable(name) for name in SECRET_FILES.values()}
    problems += [
        f"{name}: is no setting; there are {', '.join(sorted(known))}"
        for name in sorted(environ)
        if name.startswith("ALERT_") and name not in known | mounted and environ[name]
    ]
    email_to = tuple(part.strip() for part in environ.get(EMAIL_TO, "").split(",") if part.strip())
    problems += [
        f"{EMAIL_TO}: {address!r} is no e-mail address"
        for address in email_to
        if not _ADDRESS.fullmatch(address)
    ]
    url = environ.get(WEBHOOK_URL, "").strip() or None
    if url is not None and (why := bad_url(url)):
        problems.append(f"{WEBHOOK_URL}: {why}")
    files = frozenset(
        kind
        for kind, name in SECRET_FILES.items()
        if (secrets / name).exists() and _usable(kind, secrets / name, problems)
    )
    if url is not None and "webhook" in files:
        problems.append(
            f"{WEBHOOK_URL} and {secrets / SECRET_FILES['webhook']}: give the address once"
        )
    if "webhook_token" in files and url is None and "webhook" not in files:
        problems.append(
            f"{secrets / SECRET_FILES['webhook_token']}: there is no webhook to go with it"
        )
    severities = {
        kind: _severities(name, environ.get(name, ""), kind, problems)
        for kind, name in SEVERITIES_OF.items()
    }
    if problems:
        raise ConfigError(*problems)
    return Receivers(email_to, url, files, severities)


def file_variable(name: str) -> str:
    """The variable by which compose finds a receiver's secret."""
    return f"{name.upper()}_FILE"


def file_problems(file: Path, environ: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the secrets that a rendered file names, as compose mounts them.

    A line for each; compose takes their paths from variables, and an empty file without one.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        yield f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}"
        return
    for name in sorted(named_in(text)):
        variable = file_variable(name)
        if not (path := environ.get(variable, "")):
            yield f"{variable}: is not set, and {file} needs {name}"
        elif why := problem_with(name, Path(path)):
            yield f"{variable}: {path}: {why}"


def _severities(name: str, text: str, kind: str, problems: list[str]) -> tuple[str, ...]:
    given = tuple(part.strip() for part in text.split(",") if part.strip())
    problems += [
        f"{name}: {severity!r} is none of {', '.join(SEVERITIES)}"
        for severity in given
        if severity not in SEVERITIES
    ]
    return given or _DEFAULT_SEVERITIES.get(kind, SEVERITIES)


def _usable(kind: str, path: Path, problems: list[str]) -> bool:
    why = problem_with(SECRET_FILES[kind], path)
    if why:
        problems.append(f"{path}: {why}")
    return not why
