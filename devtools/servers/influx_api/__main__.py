"""The command: serves the management API until it is killed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from devtools.servers.influx_api import (
    Api,
    Databases,
    InfluxdDatabases,
    NoDatabases,
    State,
    make_server,
)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="influx_api", description="A stand-in for InfluxDB 2's management API."
    )
    parser.add_argument("--listen", default="127.0.0.1:8087", metavar="HOST:PORT")
    parser.add_argument("--influxd", metavar="URL", help="influxd 1.x; without it no databases")
    parser.add_argument("--state-file", type=Path, required=True, metavar="FILE")
    parser.add_argument("--admin-token-file", type=Path, required=True, metavar="FILE")
    parser.add_argument("--org", required=True, metavar="NAME", help="made at the first start")
    parser.add_argument("--bucket", required=True, metavar="NAME", help="made at the first start")
    parser.add_argument("--retention-seconds", type=int, default=0, metavar="SECONDS")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until killed; 2 and one sentence if that cannot begin."""
    options = _arguments(arguments)
    host, _, port = options.listen.rpartition(":")
    databases: Databases = InfluxdDatabases(options.influxd) if options.influxd else NoDatabases()
    try:
        token = options.admin_token_file.read_text(encoding="utf-8").strip()
        if not token:
            raise ValueError(f"{options.admin_token_file}: is empty")
        api = Api(State.load(options.state_file), databases)
        api.set_up(token, options.org, options.bucket, options.retention_seconds)
        server = make_server(api, host, int(port))
    except (OSError, ValueError) as error:
        print(f"influx_api: {error}", file=sys.stderr)
        return 2
    with server:
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
