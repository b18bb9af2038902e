"""A rig whose Prometheus pushes, too: by remote write, to whichever extractor answers."""

from __future__ import annotations

import secrets
from typing import Any, ClassVar

from common.state.keys import feed_of
from common.state.ledger import Account
from common.state.pushes import ACCOUNT
from devtools.chaos.load import JOB, METRICS
from devtools.chaos.rig import SERVICES, Rig
from devtools.servers.ports import HOST, free_port
from devtools.servers.stack import SIMULATOR_JOB

PROXY = "push"
PATH = "/api/v1/write"
USER = "prometheus"
# Few enough that an outage of some seconds fills them.
HIGH_WATER = "1MiB"
RECOVERED_SAMPLES = 500


class PushRig(Rig):
    """Each extractor listens on a port of its own; a proxy spreads the requests over them."""

    more_proxies: ClassVar = (PROXY,)
    # At its end it would wait for who takes no more.
    prometheus_flags: ClassVar = (*Rig.prometheus_flags, "--storage.remote.flush-deadline=1s")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.push_ports = [free_port() for _ in range(SERVICES["extractor"])]
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
        others = {module: n for module, n in SERVICES.items() if module != "extractor"}
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

        self.until(is_early, "a sample that was pushed lies behind the head")

    def problems(self) -> list[str]:
        """What is refused of pushed samples is dropped; the pull makes dead letters of them."""
        return [
            f"{account.dead_lettered} pushed samples of {query} are dead letters"
            for query, account in self.pushed().items()
            if account.dead_lettered
        ]

    def last_problems(self) -> list[str]:
        """Each query's account must balance, with nothing in flight any more."""
        pushed = self.pushed()
        selects = [query.name for query in self.settings.extract.queries if query.select]
        return [
            f"{feed_of(query, ACCOUNT)}: {pushed.get(query)}"
            for query in selects
            if not is_settled(pushed.get(query))
        ]

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
