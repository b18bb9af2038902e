"""What keeps us from InfluxDB, in plain words, with the setting that it has to do with."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import urllib3

from common.errors import SinkError, SinkSlow
from common.failure_text import plain_text, root_of

if TYPE_CHECKING:
    from common.sink.http_session import SinkSession

_CREDENTIALS = (401, 403)
# What a proxy answers by itself, and a sink that is none never does.
_PROXY = (407, 502, 504)
# What a proxy, or the server, says where the whole response takes longer than that waits.
_TOO_SLOW = (408, 504)
# How a server says that it wants another certificate of ours, or one at all.
_ALERTS = ("CERTIFICATE", "UNKNOWN_CA", "HANDSHAKE_FAILURE", "ACCESS_DENIED")


def failed(session: SinkSession, error: BaseException) -> SinkError:
    """What to raise where a response did not come, or not to its end."""
    where = f"InfluxDB at {session.url}"
    if isinstance(error, urllib3.exceptions.ReadTimeoutError | TimeoutError):
        seconds = session.settings.timeout_seconds
        return SinkSlow(
            f"{where} did not respond within {seconds:g} s (load.influxdb.timeout_seconds)"
        )
    return SinkError(f"{where} cannot be reached: {no_response(session, error)}")


def refusal(status: int) -> type[SinkError]:
    """What a response with this status is raised as."""
    return SinkSlow if status in _TOO_SLOW else SinkError


def no_response(session: SinkSession, error: BaseException) -> str:
    """Why there was no response."""
    text = plain_text(error)
    setting = _tls_setting(session, root_of(error))
    if setting is None and text.startswith("the proxy: "):
        setting = _proxy(session)
    return f"{text} ({setting})" if setting else text


def after_status(session: SinkSession, status: int) -> str:
    """What an error with a response of this status ends with; empty if no setting is to blame."""
    if status in _CREDENTIALS and session.credentials_from:
        return f" ({session.credentials_from})"
    if status in _PROXY and session.proxy is not None:
        return f" ({_proxy(session)})"
    return ""


def _tls_setting(session: SinkSession, root: BaseException) -> str | None:
    if not isinstance(root, ssl.SSLError):
        return None
    settings = session.settings
    if isinstance(root, ssl.SSLCertVerificationError):
        if "mismatch" in root.verify_message:
            if settings.server_name is not None:
                return f"load.influxdb.server_name: {settings.server_name}"
            return f"load.influxdb.url: {settings.url}"
        key, file = "ca_file", settings.ca_file
    elif "ALERT" in (reason := root.reason or "") and any(one in reason for one in _ALERTS):
        key, file = "cert_file", settings.cert_file
    else:
        return None
    return f"load.influxdb.{key}: {file}" if file else f"load.influxdb.{key} is not set"


def _proxy(session: SinkSession) -> str | None:
    proxy = session.proxy
    return None if proxy is None else f"{proxy.named_by}: {proxy.url}"
