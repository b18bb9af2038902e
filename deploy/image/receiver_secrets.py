"""Secrets of alert receivers: what each must look like, and what stands in for one that is wrong.

Grafana does not start where its receivers name a secret that is missing or empty: then there is no
alert at all. So a wrong one is replaced by an address that leads nowhere, whose messages fail one
by one in Grafana's log. The service that waits for the watchdog's message gets none meanwhile, and
raises the alarm.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from common.secret_files import check_secret_mode, read_secret

# Kind of receiver → name of its secret.
SECRET_FILES = {
    "webhook": "alert_webhook_url",
    "webhook_token": "alert_webhook_token",
    "slack": "alert_slack_url",
    "pagerduty": "alert_pagerduty_key",
    "watchdog": "alert_watchdog_url",
}
WATCHDOG = SECRET_FILES["watchdog"]
# Where Grafana's container has the file of its receivers.
RECEIVERS = "/etc/grafana/provisioning/alerting/receivers.yaml"
_NAMED = re.compile(r"\$__file{/run/secrets/(alert_\w+)}")


def named_in(receivers: str) -> frozenset[str]:
    """The secrets that a rendered file of receivers has Grafana read."""
    return frozenset(_NAMED.findall(receivers))


def why_unfit(name: str, text: str) -> str:
    """What is wrong with the secret, as the end of a sentence that does not tell it; or nothing."""
    check = _CHECKS.get(name)
    return check(text) if check else ""


def problem_with(name: str, path: Path) -> str:
    """As :func:`why_unfit` of a file, which must be there, hold a secret, and be nobody else's."""
    try:
        check_secret_mode(path)
        return why_unfit(name, read_secret(path))
    except ValueError as error:
        return str(error).removeprefix(f"names {path}, which ")


def stand_in(name: str) -> bytes:
    """What Grafana accepts in the place of a secret, and what reaches nobody."""
    if name.endswith("_url"):
        # Such a name never has an address (RFC 2606).
        return f"http://{name.replace('_', '-')}-is-wrong.invalid/".encode()
    return f"{name}-is-wrong".encode()


def bad_url(text: str) -> str:
    """What is wrong with an address, without saying the address."""
    if "$" in text:
        # Grafana takes $ for a variable, even in what it has read from a file.
        return "must not contain $"
    try:
        parts = urlsplit(text)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        whole = False
    return "" if whole else "must be an address that begins with http:// or https://"


def _bad_key(text: str) -> str:
    return "" if re.fullmatch(r"[A-Za-z0-9]{20,64}", text) else "is no PagerDuty integration key"


def _bad_token(text: str) -> str:
    return "must not contain $" if "$" in text else ""


_CHECKS: dict[str, Callable[[str], str]] = {
    name: _bad_key if kind == "pagerduty" else _bad_token if kind == "webhook_token" else bad_url
    for kind, name in SECRET_FILES.items()
}
