"""Which container is handed which secrets: the one list of them.

The compose files mount the same files and volumes, because Docker has to know them; tests
compare them with this list.
"""

from __future__ import annotations

from dataclasses import dataclass

# Users of Redis, each with a password of its own: deploy/redis/users.sh.
REDIS_USERS = ("extractor", "transformer", "loader", "verifier", "etl-metrics", "etlctl")
ROOT_GROUP = 0
# The user of the project's own images.
ETL_USER = 10001
_ALERT_RECEIVERS = (
    "alert_webhook_url alert_webhook_token alert_slack_url alert_pagerduty_key alert_watchdog_url"
)


@dataclass(frozen=True, slots=True)
class Consumer:
    """A container, by the name of its folder; who its user is, and which secrets it reads.

    Those in ``optional``, which are among ``secrets``, need not be there.
    """

    name: str
    uid: int
    gid: int
    secrets: tuple[str, ...]
    optional: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Row:
    """A consumer's secrets by the part of the deployment that makes it read them.

    Names stand with blanks between them.
    """

    name: str
    uid: int = ETL_USER
    gid: int = ETL_USER
    monitoring: str = ""
    pipeline: str = ""
    tls: str = ""
    optional: str = ""


ROWS = (
    Row(
        "prometheus",
        uid=65534,
        gid=65534,
        monitoring="prometheus_web.yml prometheus_client.yml prometheus_readonly_password"
        " simulator_password metrics_password",
        tls="tls_ca.crt tls_prometheus.crt tls_prometheus.key prometheus_web_tls.yml"
        " prometheus_client_tls.yml",
    ),
    Row(
        "grafana",
        uid=472,
        gid=ROOT_GROUP,
        monitoring="grafana_admin_password grafana_secret_key prometheus_readonly_password",
        tls="tls_ca.crt tls_grafana.crt tls_grafana.key",
        optional=_ALERT_RECEIVERS,
    ),
    Row(
        "simulator",
        monitoring="simulator_password",
        tls="tls_ca.crt tls_etl-simulator.crt tls_etl-simulator.key",
    ),
    Row(
        "exporter",
        monitoring="metrics_password",
        pipeline="redis_etl-metrics_password",
        tls="tls_ca.crt",
    ),
    Row(
        "redis",
        uid=999,
        gid=999,
        pipeline=" ".join(f"redis_{user}_password" for user in REDIS_USERS),
        tls="tls_ca.crt tls_redis.crt tls_redis.key",
    ),
    Row(
        "influxdb",
        uid=1000,
        gid=1000,
        pipeline="influxdb_admin_password influxdb_admin_token",
    ),
    Row("influxdb-init", pipeline="influxdb_admin_token"),
    Row(
        "extractor",
        pipeline="redis_extractor_password prometheus_readonly_password metrics_password",
        tls="tls_ca.crt",
    ),
    Row("transformer", pipeline="redis_transformer_password metrics_password", tls="tls_ca.crt"),
    Row("loader", pipeline="redis_loader_password metrics_password", tls="tls_ca.crt"),
    Row(
        "verifier",
        pipeline="redis_verifier_password prometheus_readonly_password metrics_password",
        tls="tls_ca.crt",
    ),
    Row(
        "etlctl",
        pipeline="redis_etlctl_password prometheus_readonly_password simulator_password",
        tls="tls_ca.crt",
    ),
)


def consumers(*, pipeline: bool, tls: bool) -> tuple[Consumer, ...]:
    """Who is handed what: the monitoring stack always, the rest where it is part of the deployment.

    TLS adds to those who are there, and brings nobody.
    """
    found = []
    for row in ROWS:
        required = row.monitoring.split() + (row.pipeline.split() if pipeline else [])
        if required:
            optional = row.optional.split()
            names = required + optional + (row.tls.split() if tls else [])
            found.append(Consumer(row.name, row.uid, row.gid, tuple(names), frozenset(optional)))
    return tuple(found)
