"""HTTP of the simulator: everything behind basic authentication but ``/health``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from prometheus_client import CollectorRegistry

from common.runtime.basic_auth import BasicAuth
from common.runtime.http_server import (
    Request,
    Response,
    Route,
    error_response,
    json_response,
    metrics_page,
)
from common.runtime.process import Events
from services.simulator.process import InForce
from services.simulator.scenario_request import (
    BadMediaType,
    BadRequest,
    ScenarioRequest,
    document,
    parse_request,
)


@dataclass(frozen=True, slots=True)
class Pages:
    """What is behind the paths; each of these returns at once and writes nothing.

    ``refresh`` is called before each scrape of ``registry``. ``unhealthy`` says why the health
    check fails, or None.
    """

    registry: CollectorRegistry
    refresh: Callable[[], None]
    unhealthy: Callable[[], str | None]
    in_force: Callable[[], InForce]
    switch: Callable[[ScenarioRequest], InForce]
    events: Events

    def routes(self, auth: BasicAuth) -> dict[str, Route]:
        """The paths and who may see them."""
        return {
            "/health": Route(self._health),
            "/metrics": Route(metrics_page(self.registry, self.refresh), auth=auth),
            "/scenario": Route(self._scenario, self._switch, auth),
        }

    def _health(self, _: Request) -> Response:
        why = self.unhealthy()
        if why is None:
            return json_response(HTTPStatus.OK, {"status": "ok"})
        report = {"status": "unhealthy", "reason": why}
        return json_response(HTTPStatus.SERVICE_UNAVAILABLE, report)

    def _scenario(self, _: Request) -> Response:
        return json_response(HTTPStatus.OK, document(self.in_force()))

    def _switch(self, request: Request) -> Response:
        try:
            wanted = parse_request(request.headers.get("Content-Type", ""), request.body)
        except BadRequest as error:
            bad_type = isinstance(error, BadMediaType)
            status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE if bad_type else HTTPStatus.BAD_REQUEST
            return error_response(status, str(error))
        in_force = self.switch(wanted)
        self.events.emit(
            "scenario_requested",
            client=request.client,
            scenario=wanted.scenario,
            for_seconds=wanted.for_seconds,
        )
        return json_response(HTTPStatus.OK, document(in_force))
