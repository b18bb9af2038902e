"""Renders docs/configuration.md from the models: ``python -m devtools.docs.configuration``."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from common.config.fields import Unit
from common.config.model import Settings
from common.durations import format_duration

_INTRODUCTION = """\
# Configuration

<!-- Rendered by `python -m devtools.docs.configuration`; edit the models in common/config/. -->

Every service and `etlctl` read one YAML file: the path given with `--config`, else in
`ETL_CONFIG`, else `config/etl.yaml`. Unknown keys, bad values, contradictions and unreadable
secrets are reported before anything starts, one line each with file, line and key, and the process
ends with exit code 2. `etlctl config check` reports the same without starting anything, and
prints what is in force.

A key without a value means the same as no key. Only the keys without a default are required.
JSON can stand wherever YAML can, with all its escapes; half of a surrogate pair (`"\\ud83d"`
alone) is no text and is refused.

**Durations** follow one convention, whether or not the key ends in `_seconds`: a number of seconds
(`30`, `0.5`) or a duration as in Prometheus (`15s`, `1m30s`, `14d`), at most 292 years. The
defaults below are written the second way.
**Sizes** are a number of bytes, or have a unit (`64KiB`, `256MiB`, `10MB`).

**Environment variables** override the file: `ETL__LOAD__INFLUXDB__URL` is `load.influxdb.url`.
Lists and mappings are JSON: `ETL__TRANSFORM__VALID_METRICS='["up"]'`; a list is replaced as a
whole. An empty variable is the same as none, `null` takes a key away.

**Secrets** can be given themselves or, better, as a file (`token_file`, `password_file`, …),
but not both. Paths of secrets, certificates and keys, in the file or in a variable, are absolute
or relative to the folder of the configuration file. Line breaks at the end of a secret's file and
a byte order mark at its beginning are no part of the secret; one in quotes is refused, as nobody
can tell whether they belong to it. A file with a secret or a private key that every user of the
machine can read or change is refused. A secret from the environment, in
either form, replaces the file's. A service reads only the secrets that it needs: the extractor
those of `extract`, the loader those of `load`, the verifier both, all of them those of
`pipeline`. They are never logged.

## Reading it again

Extractor, transformer, loader and verifier read the file again when it changes (they look every
2.5 s, and wait until it was left alone between two looks), when they get SIGHUP, and on `etlctl
reload`, which also says whether all have it. Nothing is lost by it and no container is restarted.

- **What says something else comes into force whole**: the process finishes or gives back what it
  holds, as on SIGTERM, and begins again with the same command and process id. That takes a few
  seconds, in which `/metrics` does not answer. Queries, relabelling, tiers, whitelist, limits, log
  level, addresses and secrets: all of it.
- **What is not valid is refused**, and what was in force stays so:
  `etl_config_last_reload_successful` is 0, `config_refused` is in the log once with each problem,
  `etlctl status` names it, and `EtlConfigRefused` fires.
- **What needs a restart is refused too**: `pipeline.redis_url`, `redis_namespace`, `shard`,
  `http_host`, `http_port` and `log_file`.
- A changed secret is read with the file: send SIGHUP. Environment variables are those that the
  process was started with, and override the file as before.
- A mounted single file (Docker, as in `docker-compose.yml`) is the file that was there when the
  container was made. An editor that writes a new file in its place is not noticed inside: `etlctl
  reload` says so. Write into the file (`cat new.yaml > config/etl.yaml`), or make the container
  anew.

What was in force of each query from when on stays in Redis and in the sink, so `etlctl verify`
proves each part of the time by its own configuration.
"""

_RULES = """\
## What is refused

Beside each key's own bounds:

- A lease must outlive the request made under it by 5 s: `extract.window_lease_seconds` against
  `extract.timeout`, `pipeline.entry_lease_seconds` against `load.influxdb.timeout_seconds`.
- `pipeline.live_seconds` must be longer than both of those time-outs, and at least 10 s: a loop
  that waits for Redis may take as long.
- `extract.staged_ttl_seconds` must be longer than `extract.window_lease_seconds`.
- `extract.live_window_max_seconds` must hold a step of every query.
- `pipeline.low_water_bytes` must be below `pipeline.high_water_bytes`, each
  `backoff_base_seconds` at most its `backoff_max_seconds`, `extract.catchup_window_samples` at
  most `extract.max_points_per_series`.
- Query names are unique, and so are the buckets of tiers. The hot tier has neither resolution
  nor aggregates; warm and cold need both, and cold is the coarser.
- Either `extract.prometheus_url` with what belongs to it, or `extract.sources`; their names are
  unique, each is read by a query, and a query names only those that there are.
- `replicas` are servers of one source: each once, all with http:// or all with https://, and
  `prometheus_url` (or `url`), where it is given, is the first.
- `extract.auth` is either a user with a password, or a bearer token, or `oauth2`.
- Names of `extract.headers`, `extract.params` and `extract.labels` that the requests or Prometheus
  use themselves. Their values are text as written, quoted or not (`dedup: true`).
- URLs carry no credentials, and a scheme that fits: `http`, `https`; `redis`, `rediss`, `unix`.
  Behind the `?` of `pipeline.redis_url` stand `db`, `client_name`, `socket_timeout`,
  `socket_connect_timeout`, `socket_keepalive`, `health_check_interval`, `max_connections`, and of
  `rediss` what begins with `ssl_` and names files or what is checked; nothing else.
  Their hosts, and `pipeline.http_host`, are IP addresses or can be names of hosts.
- A `ca_file` holds a certificate; a `cert_file` fits its key, which has no passphrase; the token
  of InfluxDB is ASCII. A log file or mirror is no directory and lies in one.
- A relabel rule has exactly the fields that its action takes in Prometheus 3, and its regex is
  RE2. Its labels, regex, separator and replacement are text as written, quoted or not (`regex:
  1`, `replacement: true`); without a value they are empty.
- An `expr` has neither `@ start()` nor `@ end()`: its values would depend on the windows that
  it is extracted in.
- An `expr` and a `select` are PromQL, as the library promql-parser reads it. It knows the
  functions and the quoted names of Prometheus 3. It does not know what Prometheus itself
  keeps behind a feature flag, such as arithmetic between durations (`offset (5m + 1m)`) or
  `smoothed`, and it refuses functions that only other servers have. A duration without a
  unit is whole seconds (`[300]`): write `[1500ms]`, not `[1.5]`.

**Queries whose outputs can be the same series** are refused, as they would silently overwrite
each other: two `select` that no label distinguishes (`{job="a"}` beside `{job=~"a|b"}`), and an
`expr` named like a metric that a `select` may contain. Where a `select` does not say which
metrics it wants, those are the metrics that Prometheus makes itself (`up`,
`scrape_duration_seconds`, …) and all that appear in the configured expressions.

**Several sources that can write the same series** are refused for the same reason: each needs, in
its `labels` or by relabelling, a value of its own for a label that relabelling keeps.

What is valid but probably not meant (an `expr` that `transform.valid_metrics` drops whole, a
tier that is not filled yet, selectors that differ only by a label that relabelling may change, an
`expr` that may return several metrics, which would overwrite each other) is said in the log and
by `etlctl config check`.
"""

_SECTIONS = ("extract", "transform", "load", "pipeline", "verify")


def render() -> str:
    """The text of docs/configuration.md."""
    parts = [_INTRODUCTION]
    for name in _SECTIONS:
        field = Settings.model_fields[name]
        parts.append(f"## {name}\n\n{field.description}\n\n{_table(name, field)}")
    parts.append(_RULES)
    return "\n".join(parts)


def _table(name: str, field: FieldInfo) -> str:
    lines = ["| Key | Type | Unit | Default | Meaning |", "|---|---|---|---|---|"]
    for key, item in _fields(name, field.annotation):
        cells = (f"`{key}`", _type(item), _unit(item), _default(item), item.description or "")
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _fields(prefix: str, annotation: Any) -> Iterator[tuple[str, FieldInfo]]:
    """Dotted key and field of everything below a model, depth first."""
    model = _strip(annotation)
    for name, item in model.model_fields.items():
        key, inner = f"{prefix}.{name}", _strip(item.annotation)
        arguments = get_args(inner)
        if _is_model(inner):
            yield from _fields(key, inner)
            continue
        yield key, item
        if get_origin(inner) is tuple and _is_model(_strip(arguments[0])):
            yield from _fields(f"{key}[]", arguments[0])
        elif get_origin(inner) is dict and _is_model(_strip(arguments[1])):
            yield from _fields(f"{key}.*", arguments[1])


def _strip(annotation: Any) -> Any:
    """The type behind ``Annotated`` and ``| None``."""
    if get_origin(annotation) is Annotated:
        return _strip(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return _strip(next(part for part in get_args(annotation) if part is not type(None)))
    return annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _metadata(item: FieldInfo) -> list[Any]:
    found = list(item.metadata)
    for part in (item.annotation, *get_args(item.annotation)):
        if get_origin(part) is Annotated:
            found += get_args(part)[1:]
    return found


def _type(item: FieldInfo) -> str:
    inner = _strip(item.annotation)
    names = [data.name for data in _metadata(item) if isinstance(data, Unit)]
    if "duration" in names:
        text = "list of durations" if get_origin(inner) is tuple else "duration"
    elif "size" in names:
        text = "size"
    else:
        text = _name(inner)
    bounds = [
        f"{sign} {_number(getattr(data, attribute))}"
        for data in _metadata(item)
        for kind, attribute, sign in (
            (Gt, "gt", ">"),
            (Ge, "ge", "≥"),
            (Lt, "lt", "<"),
            (Le, "le", "≤"),
        )
        if isinstance(data, kind)
    ]
    bounds += [
        f"at most {d.max_length} characters" for d in _metadata(item) if isinstance(d, MaxLen)
    ]
    return ", ".join([text, *bounds])


def _name(inner: Any) -> str:
    origin, arguments = get_origin(inner), get_args(inner)
    if origin is Literal:
        return "one of " + ", ".join(f"`{value}`" for value in arguments)
    if origin is tuple:
        item = _strip(arguments[0])
        return "list of mappings" if _is_model(item) else f"list of {_name(item)}"
    if origin is dict:
        value = _strip(arguments[1])
        values = "" if _is_model(value) else f", its values {_name(value)}"
        return f"mapping; its keys are {_name(arguments[0])}{values}"
    return {str: "text", bool: "true or false", int: "whole number", float: "number"}.get(
        inner, "secret" if inner is SecretStr else str(inner)
    )


def _unit(item: FieldInfo) -> str:
    for data in _metadata(item):
        if isinstance(data, Unit):
            return {"duration": "seconds", "size": "bytes"}.get(data.name, data.name)
    return ""


def _default(item: FieldInfo) -> str:
    if item.is_required():
        return "**required**"
    if item.default_factory is not None:
        return "derived" if _unit(item) else "none"
    if item.default is None or isinstance(item.default, SecretStr):
        return "none"
    if isinstance(item.default, tuple):
        return ", ".join(_shown(one, item) for one in item.default) or "none"
    if item.default == {}:
        return "none"
    if isinstance(item.default, bool):
        return f"`{str(item.default).lower()}`"
    return _shown(item.default, item)


def _shown(default: Any, item: FieldInfo) -> str:
    if isinstance(default, int | float):
        if _unit(item) == "seconds":
            return f"`{format_duration(round(default * 1000))}`"
        return f"`{_number(default)}`"
    return f"`{default}`"


def _number(value: float) -> str:
    if value == 1 << 64:
        return "2^64"
    if isinstance(value, int) and value >= 1 << 20 and value % (1 << 20) == 0:
        return f"{value >> 20}MiB"
    return str(value) if isinstance(value, int) else f"{value:g}"


if __name__ == "__main__":
    sys.stdout.write(render())
