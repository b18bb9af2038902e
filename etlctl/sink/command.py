"""``etlctl sink``: prepare the InfluxDB that the pipeline writes to."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from common.config import load_settings
from common.errors import ConfigError
from etlctl.options import ConfigFile, group, read_secret_option

# Every authorization of an organisation is in one response.
_RESPONSE_BYTES_MAX = 64 << 20

sink_app = group("Prepare the InfluxDB that the pipeline writes to.")

AdminTokenFile = Annotated[
    Path,
    typer.Option(
        "--admin-token-file",
        metavar="FILE",
        help="Operator token of InfluxDB; of 1.x USER:PASSWORD of an administrator.",
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help="Where the loader's token is kept; load.influxdb.token_file if not given.",
    ),
]
WaitSeconds = Annotated[
    float,
    typer.Option(
        "--wait-seconds", metavar="SECONDS", min=0, help="How long InfluxDB may take to be healthy."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be made and changed.")]
Yes = Annotated[
    bool,
    typer.Option("--yes", help="Let a retention become shorter, which deletes what is older."),
]


@sink_app.command("init")
def init(
    config: ConfigFile = None,
    admin_token_file: AdminTokenFile = Path("/run/secrets/influxdb_admin_token"),
    token_file: TokenFile = None,
    wait_seconds: WaitSeconds = 120.0,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Make organisation, buckets and the loader's token where missing.

    In InfluxDB 3: databases and a token. In 1.x: databases and retention policies.

    Can be run again at any time: what is as it should be is left alone, and nothing is deleted but
    tokens of the loader that are not used any more. No retention becomes shorter without --yes.
    """
    # The client takes a quarter of a second to import.
    from common.sink.http_session import SinkSession
    from etlctl.sink import influx1, influx3
    from etlctl.sink import init as steps
    from etlctl.sink.management import Management
    from etlctl.sink.retention import Consent

    settings = load_settings(config, secrets=("load.tls",))
    load, influxdb = settings.load, settings.load.influxdb
    wanted, consent = steps.wanted_buckets(load), Consent(dry_run, yes)
    if influxdb.username is not None:
        if not admin_token_file.exists():
            influxdb = load_settings(config, secrets=("load",)).load.influxdb
        with closing(influx1.connect(influxdb, admin_token_file, "--admin-token-file")) as one:
            steps.wait_until_healthy(one.why_not_there, wait_seconds, typer.echo)
            influx1.prepare(one, wanted, consent, typer.echo)
        return
    admin_token = read_secret_option("--admin-token-file", admin_token_file)
    kept_in = token_file or (Path(influxdb.token_file) if influxdb.token_file else None)
    if kept_in is None:
        raise ConfigError("load.influxdb.token_file: is not set: name the file with --token-file")

    def session(token: str, file: Path, option: str = "") -> SinkSession:
        return SinkSession(
            influxdb,
            connections=1,
            token=token,
            token_from=f"{option}{file}",
            response_bytes_max=_RESPONSE_BYTES_MAX,
        )

    def connect(token: str) -> Management:
        return Management(session(token, kept_in))

    as_admin = session(admin_token, admin_token_file, "--admin-token-file: ")
    one, three = influx1.Influx1(as_admin), influx3.Influx3(as_admin)
    with closing(Management(as_admin)) as admin, closing(as_admin):

        def why_not_healthy() -> str | None:
            is_other = one.why_not_there() is None or three.is_there()
            return None if is_other else admin.why_not_healthy()

        steps.wait_until_healthy(why_not_healthy, wait_seconds, typer.echo)
        if one.why_not_there() is None:
            influx1.prepare(one, wanted, consent, typer.echo)
            return
        if three.is_there():
            influx3.prepare(three, wanted, kept_in, consent, typer.echo)
            return
        org_id = steps.ensure_org(admin, influxdb.org, consent, typer.echo)
        found = [steps.ensure_bucket(admin, org_id, one, consent, typer.echo) for one in wanted]
        buckets = [bucket for bucket in found if bucket is not None]
        if org_id is None or len(buckets) < len(wanted):
            typer.echo(f"{kept_in}: would be made (its buckets are not there yet)")
            return
        named = steps.description_of(settings.pipeline)
        steps.ensure_token(admin, connect, org_id, buckets, named, kept_in, consent, typer.echo)
