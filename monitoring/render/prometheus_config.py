"""prometheus.yml: what is scraped and how Prometheus gets in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from monitoring.promql import duration
from monitoring.thresholds import ETL_METRICS, PROMETHEUS, STAGES, TEST_APP, VERIFIER, Thresholds

SECRETS = "/run/secrets"


@dataclass(frozen=True, slots=True)
class Scraping:
    """Where the targets are; the defaults are the names of docker-compose.yml.

    ``ca_file`` turns the scrapes of Prometheus itself and of the simulator into HTTPS;
    ``alertmanager`` is ``host:port`` of an Alertmanager to send alerts to, beside Grafana's own.
    """

    ca_file: str | None = None
    alertmanager: str | None = None
    secrets: str = SECRETS
    rules: str = "rules/*.yml"
    prometheus: str = "localhost:9090"
    simulator: str = "etl-simulator:8000"
    etl_metrics: str = "etl-metrics:8083"
    stage_port: int = 8080


def prometheus_config(t: Thresholds, where: Scraping) -> dict[str, Any]:
    """The content of prometheus.yml."""
    config: dict[str, Any] = {
        "global": {
            "scrape_interval": duration(t.scrape_interval_seconds),
            # extract.settle_seconds counts on it: docs/configuration.md.
            "scrape_timeout": duration(t.scrape_interval_seconds * 2 / 3),
            "evaluation_interval": duration(t.evaluation_seconds),
        },
        "rule_files": [where.rules],
        "scrape_configs": [
            _job(PROMETHEUS, where, ("readonly", "prometheus_readonly_password"))
            | _tls(where)
            | _static(where.prometheus),
            _job(TEST_APP, where, ("prometheus", "simulator_password"))
            | _tls(where)
            | _static(where.simulator),
            _job(ETL_METRICS, where, ("prometheus", "metrics_password"))
            | _static(where.etl_metrics),
            *(
                _job(stage, where, ("prometheus", "metrics_password"))
                | {
                    # Every replica by itself: the service's name has an address for each.
                    "dns_sd_configs": [
                        {
                            "names": [stage],
                            "type": "A",
                            "port": where.stage_port,
                            "refresh_interval": duration(t.scrape_interval_seconds),
                        }
                    ]
                }
                for stage in (*STAGES, VERIFIER)
            ),
        ],
    }
    if where.alertmanager is not None:
        config["alerting"] = {
            "alertmanagers": [{"static_configs": [{"targets": [where.alertmanager]}]}]
        }
    return config


def _job(name: str, where: Scraping, login: tuple[str, str]) -> dict[str, Any]:
    """A job that sends its password to every target; one that needs none ignores it."""
    user, file = login
    return {
        "job_name": name,
        "basic_auth": {"username": user, "password_file": f"{where.secrets}/{file}"},
    }


def _tls(where: Scraping) -> dict[str, Any]:
    if where.ca_file is None:
        return {}
    return {"scheme": "https", "tls_config": {"ca_file": where.ca_file}}


def _static(target: str) -> dict[str, Any]:
    return {"static_configs": [{"targets": [target]}]}
