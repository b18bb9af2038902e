"""Serves remote write on a port of its own, as long as the extractor runs."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from common.config.push import PushSettings
from common.errors import ConfigError
from common.runtime.basic_auth import BasicAuth
from common.runtime.http_server import HttpServer, Page, Request, Response, Route, tls_context
from common.runtime.readiness.identity_guard import IdentityGuard
from common.runtime.service import Service
from common.runtime.telemetry import Telemetry
from common.state.connection.redis_client import connect_as_set
from common.state.keys import Keys
from common.state.pushes import ACCOUNT, Pushed, PushedSamples
from services.extractor.pressure import BackPressure
from services.extractor.prometheus import PrometheusClient
from services.extractor.push.external_labels import ExternalLabels
from services.extractor.push.receive import MAX_BODY_BYTES, Receiver
from services.extractor.windows import Plan

PATH = "/api/v1/write"
# How long Prometheus may take to tell which labels it adds, and how often it is asked: others are
# added as soon as they are configured.
EXTERNAL_TIMEOUT_SECONDS = 5.0
EXTERNAL_EVERY_SECONDS = 1.0


class PushServer:
    """Takes what Prometheus pushes, from its making until :meth:`close`."""

    def __init__(
        self, service: Service, port: int, plans: Sequence[Plan], pressure: BackPressure
    ) -> None:
        """Raises :class:`ConfigError` when the port cannot be listened on, or TLS not be used."""
        settings, telemetry = service.settings, service.telemetry
        timeout_seconds = min(settings.extract.timeout_seconds, EXTERNAL_TIMEOUT_SECONDS)
        self._source = PrometheusClient(
            settings.extract.model_copy(update={"timeout": timeout_seconds})
        )
        self._redis = connect_as_set(settings.pipeline)
        committed = PushedSamples(self._redis, Keys(settings.pipeline.redis_namespace))
        guard = IdentityGuard(self._redis, settings, telemetry)
        receiver = Receiver(
            [plan for plan in plans if plan.query.kind == "select" and plan.rollup is None],
            heads_ms=lambda plans: committed.heads_ms([plan.feed for plan in plans]),
            commit=committed.commit,
            external_labels=ExternalLabels(self._source.run, self._source.config),
            refusal=lambda: "the extractor stops" if service.stop.is_set() else guard.reason(),
            paused=pressure.paused,
            count=partial(_count, telemetry),
        )

        def counted(page: Page) -> Page:
            def respond(request: Request) -> Response:
                response = page(request)
                telemetry.inc("etl_push_requests_total", status=str(int(response.status)))
                return response

            return respond

        push = settings.extract.push
        auth = BasicAuth(push.username, push.password.get_secret_value())
        self._http = HttpServer(
            push.host,
            port,
            {PATH: Route(None, counted(receiver.page), auth, MAX_BODY_BYTES)},
            tls=_tls(push),
            on_refused=lambda client: telemetry.emit("request_refused", client=client),
            settings_names="extract.push.host and port",
        )
        telemetry.emit("push_started", port=self._http.port)
        self._closed = threading.Event()
        self._asking = threading.Thread(
            target=self._ask, args=(receiver,), name="push-labels", daemon=True
        )
        self._asking.start()

    def _ask(self, receiver: Receiver) -> None:
        receiver.learn_external_labels()
        while not self._closed.wait(EXTERNAL_EVERY_SECONDS):
            receiver.learn_external_labels()

    def close(self) -> None:
        """Stop listening."""
        self._closed.set()
        self._http.close()
        self._source.stop()
        self._asking.join(EXTERNAL_TIMEOUT_SECONDS)
        self._source.close()
        self._redis.close()


def _tls(push: PushSettings) -> ssl.SSLContext | None:
    if push.cert_file is None:
        return None
    try:
        return tls_context(Path(push.cert_file), Path(push.key_file or push.cert_file))
    except ValueError as error:
        raise ConfigError(f"extract.push: {error}") from None


def _count(telemetry: Telemetry, pushed: Sequence[Pushed], outcomes: Mapping[str, int]) -> None:
    for outcome, samples in outcomes.items():
        telemetry.inc("etl_pushed_samples_total", samples, outcome=outcome)
    for one in pushed:
        taken = one.samples + sum(one.dropped.values())
        telemetry.inc("etl_extracted_samples_total", taken, query=one.feed.query, tier=ACCOUNT)
        for reason, samples in one.dropped.items():
            telemetry.inc("etl_dropped_samples_total", samples, reason=reason)
