"""Which secrets there are, and what has to follow when one gets a new value."""

from __future__ import annotations

from dataclasses import dataclass

CONTAINER_FOLDER = "/run/secrets"


@dataclass(frozen=True, slots=True)
class Password:
    """A random secret.

    ``restart`` names the services that read it only when they start. ``server_command`` gives it to
    a server that keeps a copy of its own. ``made_by_server`` is how to get a new one where that
    takes more than another file.
    """

    name: str
    restart: tuple[str, ...] = ()
    server_command: str | None = None
    made_by_server: str | None = None


_PIPELINE = ("extractor", "transformer", "loader", "verifier", "etl-metrics")

PASSWORDS = (
    *(Password(f"redis_{user}_password", restart=("redis", user)) for user in _PIPELINE),
    Password("redis_etlctl_password", restart=("redis",)),
    Password(
        "influxdb_admin_password",
        server_command="docker compose exec influxdb sh -c 'influx user password --name admin"
        f' --password "$(cat {CONTAINER_FOLDER}/influxdb_admin_password)"'
        f' --token "$(cat {CONTAINER_FOLDER}/influxdb_admin_token)"\'',
    ),
    Password(
        "influxdb_admin_token",
        made_by_server="only the server makes a new one: make one with "
        "`influx auth create --operator` in its container, put it in the file, hand it out, "
        "and delete the old one with `influx auth delete`",
    ),
    # Prometheus reads its web configuration and its password files anew for every request.
    Password("prometheus_admin_password"),
    Password("prometheus_readonly_password", restart=("extractor", "verifier", "grafana")),
    Password("simulator_password", restart=("etl-simulator",)),
    Password(
        "grafana_admin_password",
        server_command="docker compose exec grafana sh -c 'grafana cli admin reset-admin-password"
        f" --password-from-stdin < {CONTAINER_FOLDER}/grafana_admin_password'",
    ),
    # Grafana encrypts with it what its database holds of data sources and receivers.
    Password(
        "grafana_secret_key",
        made_by_server="with another one Grafana cannot read its database any more: remove the "
        "volume grafana-data with it; what comes from files is there again",
    ),
    Password("metrics_password", restart=_PIPELINE),
)

PASSWORD_OF = {password.name: password for password in PASSWORDS}
