"""A rig whose Prometheus pushes, too: by remote write, to whichever extractor answers."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextlib import closing
from itertools import cycle
from typing import Any, ClassVar

import requests

from common.config import Query
from common.errors import StackError
from common.samples.series import SeriesEncoder
from common.state.keys import feed_of
from common.state.ledger import Account
from common.state.pushes import ACCOUNT
from devtools.chaos.load import JOB, METRICS
from devtools.chaos.oracle import RECOVERY_SECONDS
from devtools.chaos.rig import KEYS, SERVICES, Rig
from devtools.chaos.worlds.by_hand import HEADERS, Followed, found_of, request_of
from devtools.servers.ports import HOST, HeldPort
from devtools.servers.stack import SIMULATOR_JOB
from devtools.servers.waiting import wait_until
from services.verifier.connect import sink_of, source_of
from services.verifier.expect import expect, identify_of
from services.verifier.source import SourceSeries
from services.verifier.wiring import HOT

PROXY = "push"
PATH = "/api/v1/write"
USER = "prometheus"
# Few enough that an outage of some seconds fills them.
HIGH_WATER = "1MiB"
RECOVERED_SAMPLES = 500
# Whose samples are pushed by hand: of the last moments, so that no pull can have them before.
QUERY = METRICS[1]
NEWEST_MS = 600


class PushRig(Rig):
    """Each extractor listens on a port of its own; a proxy spreads the requests over them."""

    services: ClassVar[Mapping[str, int]] = SERVICES
    more_proxies: ClassVar = (PROXY,)
    # At its end it would wait for who takes no more.
    prometheus_flags: ClassVar = (*Rig.prometheus_flags, "--storage.remote.flush-deadline=1s")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._held = [HeldPort() for _ in range(self.services["extractor"])]
        self.push_ports = [held.port for held in self._held]
        self._turns = cycle(self.push_ports)
        self.password = secrets.token_urlsafe(12)
        super().__init__(*arguments, **options)

    def config(self) -> dict[str, Any]:
        """Push, and less room in Redis."""
        config = super().config()
        # Without a port, which each process has of its own.
        config["extract"]["push"] = {"host": HOST, "username": USER, "password": self.password}
        config["pipeline"]["high_water_bytes"] = HIGH_WATER
        return config

    def prometheus_settings(self) -> dict[str, Any]:
        """Remote write of what queries select."""
        return {
            "remote_write": [
                {
                    "url": f"http://{HOST}:{self.proxies.ports[PROXY]}{PATH}",
                    "remote_timeout": "3s",
                    "basic_auth": {"username": USER, "password": self.password},
                    "queue_config": {
                        "batch_send_deadline": "250ms",
                        "max_samples_per_send": 2000,
                        "max_backoff": "500ms",
                        "max_shards": 4,
                        "retry_on_http_429": True,
                    },
                    "write_relabel_configs": [
                        {
                            "source_labels": ["job"],
                            "regex": f"{JOB}|{SIMULATOR_JOB}",
                            "action": "keep",
                        }
                    ],
                }
            ]
        }

    def start_services(self) -> None:
        """Extractors with their ports, then all others."""
        for port in self.push_ports:
            environ = {"ETL__EXTRACT__PUSH__PORT": str(port)}
            self.stack.start_service("extractor", environ=environ, wait=False)
        others = {module: n for module, n in self.services.items() if module != "extractor"}
        self.stack.start_services(others)
        self.all_up()
        first, *more = self.push_ports
        self.proxies.send(PROXY, "point", port=first, others=more, delay_seconds=(0.0, 0.05))

    def pushed(self) -> dict[str, Account]:
        """The ledger's accounts of what was pushed, by query."""
        accounts = self.ledger.audit().accounts.items()
        ending = f"@{ACCOUNT}"
        return {
            name.removesuffix(ending): account
            for name, account in accounts
            if name.endswith(ending)
        }

    def until_recovered(self) -> None:
        """Wait until pushed samples are loaded again, and are there before they are pulled."""
        before = self._loaded()
        self.until(
            lambda: not before <= self._loaded() < before + RECOVERED_SAMPLES,
            "pushed samples are loaded",
            deadline_seconds=RECOVERY_SECONDS,
        )
        name = METRICS[1]

        def is_early() -> bool:
            found = self.stack.influx.query(
                f'SELECT last("value") FROM "{name}"',
                database=self.settings.load.influxdb.bucket,
                epoch="ms",
            )
            # The head is read last: it only moves on.
            newest_ms = max((int(one["values"][0][0]) for one in found), default=0)
            return newest_ms > self.feeds()[f"{name}@hot"].head_ms

        self.until(
            is_early,
            "a sample that was pushed lies behind the head",
            deadline_seconds=RECOVERY_SECONDS,
        )

    def problems(self) -> list[str]:
        """What is refused of pushed samples is dropped; the pull makes dead letters of them.

        One extractor after the other must do what its 204 says.
        """
        letters = [
            f"{account.dead_lettered} pushed samples of {query} are dead letters"
            for query, account in self.pushed().items()
            if account.dead_lettered
        ]
        return [*letters, *self.follow(next(self._turns))]

    def follow(self, port: int) -> list[str]:
        """Push samples by hand to an extractor, which must work; what is wrong with them then."""
        self.proxies.send(PROXY, "refuse")
        try:
            self.until(
                lambda: not self.proxies.send(PROXY, "state")["under_way"], "nobody else pushes"
            )
            # What was scraped before, Prometheus may have pushed.
            after_ms = self.now_ms()

            def followed() -> Followed | None:
                nonlocal after_ms
                until_ms = self.now_ms()
                series = self.newest(after_ms, until_ms)
                after_ms = until_ms if series else after_ms
                return self._followed(port, series) if series else None

            return wait_until(
                followed,
                deadline_seconds=RECOVERY_SECONDS,
                poll_seconds=0.1,
                what="samples that are pushed by hand come before they are pulled",
            ).problems()
        finally:
            self.proxies.send(PROXY, "listen")

    def newest(self, after_ms: int, until_ms: int) -> list[SourceSeries]:
        """Samples that were scraped after one time and not long before another."""
        with closing(source_of(self.settings)) as source:
            return source.read_select(
                self._query.text, max(after_ms, until_ms - NEWEST_MS), until_ms
            )

    def post(
        self,
        port: int,
        body: bytes,
        *,
        auth: tuple[str, str] | None = None,
        headers: Mapping[str, str] = HEADERS,
        timeout_seconds: float = 20.0,
    ) -> int:
        """The status of the response to a request. Raises :class:`StackError` if there is none."""
        try:
            return requests.post(
                f"http://{HOST}:{port}{PATH}",
                data=body,
                headers=headers,
                auth=auth or (USER, self.password),
                timeout=timeout_seconds,
            ).status_code
        except requests.RequestException as error:
            raise StackError(f"a request that was pushed was not answered: {error}") from error

    def last_problems(self) -> list[str]:
        """Each query's account must balance, with nothing in flight any more."""
        pushed = self.pushed()
        selects = [query.name for query in self.settings.extract.queries if query.select]
        return [
            f"{feed_of(query, ACCOUNT)}: {pushed.get(query)}"
            for query in selects
            if not is_settled(pushed.get(query))
        ]

    @property
    def _query(self) -> Query:
        return next(query for query in self.settings.extract.queries if query.name == QUERY)

    def _account(self) -> Account:
        return self.pushed().get(QUERY, Account())

    def _followed(self, port: int, series: Sequence[SourceSeries]) -> Followed | None:
        """None if nothing can be said: they were refused, or may have been pulled by now."""
        before = self._account()
        if before.in_flight or self.post(port, request_of(series)) != 204:
            return None
        # Before anything else, for a commit that is still to come comes in a moment.
        recorded: Any = self.redis.hget(KEYS.ledger, f"{feed_of(QUERY, ACCOUNT)}|extracted")
        self.until(lambda: not self._account().in_flight, "what was pushed is settled")
        after = self._account()
        identify = identify_of(self._query, SeriesEncoder.from_settings(self.settings))
        pushed = expect(series, identify).points
        times_ms = [time_ms for one in series for time_ms in one.timestamps_ms.tolist()]
        first_ms, last_ms = min(times_ms), max(times_ms)
        with closing(sink_of(self.settings, HOT)) as sink:
            found = sink.read({key.place for key in pushed}, first_ms - 1, last_ms)
        # The head is read last: it only moves on.
        if self.feeds()[feed_of(QUERY, HOT)].head_ms >= first_ms:
            return None
        return Followed(
            samples=len(times_ms),
            at_once=int(recorded or 0) - before.extracted,
            recorded=after.extracted - before.extracted,
            loaded=after.loaded - before.loaded,
            found=found_of(pushed, found),
        )

    def _loaded(self) -> int:
        return sum(account.loaded for account in self.pushed().values())


def is_settled(account: Account | None) -> bool:
    """Whether something was pushed, all of it has an end, and none of it is a dead letter."""
    return (
        account is not None
        and account.loaded > 0
        and not account.in_flight
        and not account.dead_lettered
        and not account.imbalance_samples
    )
