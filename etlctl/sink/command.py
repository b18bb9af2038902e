"""``etlctl sink``: prepare the InfluxDB that the pipeline writes to."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from common.config import load_settings
from common.errors import ConfigError, SinkError
from etlctl.options import ConfigFile, group, read_secret_option

sink_app = group("Prepare the InfluxDB that the pipeline writes to.")

AdminTokenFile = Annotated[
    Path,
    typer.Option("--admin-token-file", metavar="FILE", help="Operator token of InfluxDB."),
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


@sink_app.command("init")
def init(
    config: ConfigFile = None,
    admin_token_file: AdminTokenFile = Path("/run/secrets/influxdb_admin_token"),
    token_file: TokenFile = None,
    wait_seconds: WaitSeconds = 120.0,
) -> None:
    """Make organisation, buckets and the loader's own token, as far as they are missing.

    In InfluxDB 3: databases and a token.

    Can be run again at any time: what is as it should be is left alone, and nothing is deleted but
    tokens of the loader that are not used any more.
    """
    # The client takes a quarter of a second to import.
    from etlctl.sink import init as steps
    from etlctl.sink.influx3 import Influx3, prepare
    from etlctl.sink.management import Management, Unauthorized

    settings = load_settings(config, secrets=())
    load, influxdb = settings.load, settings.load.influxdb
    wanted = steps.wanted_buckets(load)
    admin_token = read_secret_option("--admin-token-file", admin_token_file)
    kept_in = token_file or (Path(influxdb.token_file) if influxdb.token_file else None)
    if kept_in is None:
        raise ConfigError("load.influxdb.token_file: is not set: name the file with --token-file")

    def connect(token: str) -> Management:
        return Management(influxdb.url, token, influxdb.ca_file)

    three = Influx3(influxdb.url, admin_token, influxdb.ca_file)
    with closing(connect(admin_token)) as admin, closing(three):

        def why_not_healthy() -> str | None:
            return None if three.is_there() else admin.why_not_healthy()

        steps.wait_until_healthy(why_not_healthy, wait_seconds, typer.echo)
        if three.is_there():
            prepare(three, wanted, kept_in, typer.echo)
            return
        try:
            org_id = steps.ensure_org(admin, influxdb.org, typer.echo)
        except Unauthorized as error:
            raise SinkError(
                f"{error}: is the token in {admin_token_file} the one that it was set up with?"
            ) from None
        buckets = [steps.ensure_bucket(admin, org_id, one, typer.echo) for one in wanted]
        steps.ensure_token(admin, connect, org_id, buckets, kept_in, typer.echo)
