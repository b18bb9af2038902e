"""The options of ``etlctl init`` that say where the servers are, and how they let us in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer


@dataclass(frozen=True, slots=True)
class Given:
    """The options, None where one was not given."""

    prometheus_url: str | None
    sources: Sequence[str]
    prometheus_username: str | None
    prometheus_password_file: Path | None
    prometheus_bearer_token_file: Path | None
    prometheus_ca_file: Path | None
    prometheus_header_files: Sequence[str]
    prometheus_params: Sequence[str]
    influxdb_url: str | None
    influxdb_token_file: Path | None
    influxdb_username: str | None
    influxdb_password_file: Path | None
    influxdb_ca_file: Path | None
    org: str | None
    bucket: str | None
    jobs: Sequence[str]


_AUTHORITIES = "the authorities that may vouch for it"


def _url(option: str, of: str) -> Any:
    return typer.Option(option, metavar="URL", help=f"Base URL of {of}.")


def _file(option: str, what: str) -> Any:
    return typer.Option(option, metavar="FILE", help=f"File with {what}; etl.yaml will name it.")


def given_options(
    prometheus_url: Annotated[
        str | None, _url("--prometheus-url", "Prometheus; of replicas all, with commas between")
    ] = None,
    sources: Annotated[
        list[str] | None,
        typer.Option(
            "--source",
            metavar="NAME=URL",
            help="One of several sources, instead of --prometheus-url, which may have replicas as "
            "that; can be given several times.",
        ),
    ] = None,
    prometheus_username: Annotated[
        str | None,
        typer.Option("--prometheus-username", metavar="NAME", help="User of basic authentication."),
    ] = None,
    prometheus_password_file: Annotated[
        Path | None, _file("--prometheus-password-file", "that user's password")
    ] = None,
    prometheus_bearer_token_file: Annotated[
        Path | None, _file("--prometheus-bearer-token-file", "a bearer token instead")
    ] = None,
    prometheus_ca_file: Annotated[Path | None, _file("--prometheus-ca-file", _AUTHORITIES)] = None,
    prometheus_header_files: Annotated[
        list[str] | None,
        typer.Option(
            "--prometheus-header-file",
            metavar="NAME=FILE",
            help="Header of every request, such as X-Scope-OrgID, and the file with its value; can "
            "be given several times.",
        ),
    ] = None,
    prometheus_params: Annotated[
        list[str] | None,
        typer.Option(
            "--prometheus-param",
            metavar="NAME=VALUE",
            help="Parameter in the URL of every request; can be given several times.",
        ),
    ] = None,
    influxdb_url: Annotated[str | None, _url("--influxdb-url", "InfluxDB")] = None,
    influxdb_token_file: Annotated[
        Path | None, _file("--influxdb-token-file", "a token that may read and write the bucket")
    ] = None,
    influxdb_username: Annotated[
        str | None, typer.Option("--influxdb-username", metavar="NAME", help="User of 1.x.")
    ] = None,
    influxdb_password_file: Annotated[
        Path | None, _file("--influxdb-password-file", "that user's password")
    ] = None,
    influxdb_ca_file: Annotated[Path | None, _file("--influxdb-ca-file", _AUTHORITIES)] = None,
    org: Annotated[
        str | None, typer.Option("--org", metavar="NAME", help="Organisation in InfluxDB 2.")
    ] = None,
    bucket: Annotated[
        str | None,
        typer.Option(
            "--bucket", metavar="NAME", help="Bucket, or database of 1.x; made if it is missing."
        ),
    ] = None,
    jobs: Annotated[
        list[str] | None,
        typer.Option(
            "--job", metavar="JOB", help="Extract only this job; can be given several times."
        ),
    ] = None,
) -> Given:
    """What was given of all that has to be known."""
    return Given(
        prometheus_url,
        sources or (),
        prometheus_username,
        prometheus_password_file,
        prometheus_bearer_token_file,
        prometheus_ca_file,
        prometheus_header_files or (),
        prometheus_params or (),
        influxdb_url,
        influxdb_token_file,
        influxdb_username,
        influxdb_password_file,
        influxdb_ca_file,
        org,
        bucket,
        jobs or (),
    )
