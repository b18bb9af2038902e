"""A stand-in for InfluxDB 2's management API: organisations, buckets, authorizations.

It answers as the source of the 2.7 branch says (docs/sink-responses.md names each fact's file),
keeps its state in a JSON file, and makes and alters the database of each bucket in a real influxd
1.x, whose write path and queries an nginx in front of both serves as InfluxDB 2's. For nginx's
``auth_request`` it says whether a token may: ``GET /authorize`` with the request in X-Original-URI.

Only the standard library and this folder: a container needs nothing else to run it.
``python -m devtools.servers.influx_api --listen 127.0.0.1:8087 --influxd http://127.0.0.1:8088 …``
"""

from __future__ import annotations

from devtools.servers.influx_api.api import Api
from devtools.servers.influx_api.databases import Databases, InfluxdDatabases, NoDatabases
from devtools.servers.influx_api.server import make_server
from devtools.servers.influx_api.state import State

__all__ = ["Api", "Databases", "InfluxdDatabases", "NoDatabases", "State", "make_server"]
