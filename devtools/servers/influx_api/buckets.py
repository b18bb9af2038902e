"""``/api/v2/buckets``."""

from __future__ import annotations

from dataclasses import asdict

from devtools.servers.influx_api.state import Bucket, Permission
from devtools.servers.influx_api.store import Call, Store, check_retention
from devtools.servers.influx_api.wire import (
    Json,
    Refused,
    Response,
    page_of,
    parse_id,
    read_document,
)


def get_buckets(store: Store, call: Call) -> Response:
    """The buckets that the token may read, of a page."""
    org_id = parse_id(call.query["orgID"]) if "orgID" in call.query else None
    if org_id is None and "org" in call.query:
        org_id = store.org_named(call.query["org"]).id
    found = sorted(store.state.buckets, key=lambda bucket: bucket.name)
    if "id" in call.query:
        found = [store.bucket(parse_id(call.query["id"]))]
    else:
        found = [
            bucket
            for bucket in found
            if org_id in (None, bucket.org_id)
            and call.query.get("name", bucket.name) == bucket.name
        ]
        if not found and org_id is not None and "name" in call.query:
            raise Refused("not found", f'bucket "{call.query["name"]}" not found')
    # The page is cut before rights are checked, as in tenant/middleware_bucket_auth.go.
    readable = [one for one in page_of(found, call.query) if store.may_read(call.whose, one)]
    return Response(
        200,
        {
            "links": {"self": "/api/v2/buckets"},
            "buckets": [_bucket_document(bucket) for bucket in readable],
        },
    )


def get_bucket(store: Store, call: Call) -> Response:
    """One bucket."""
    bucket = store.bucket(parse_id(call.which))
    if not store.may_read(call.whose, bucket):
        call.allow(Permission("read", "buckets", bucket.id, bucket.org_id))
    return Response(200, _bucket_document(bucket))


def post_bucket(store: Store, call: Call) -> Response:
    """Make a bucket and its database."""
    document = read_document(call.body, "failed to unmarshal json")
    if document.get("orgID") is None:
        raise Refused("invalid", "organization id must be provided")
    org_id = parse_id(document["orgID"])
    retention_seconds, shard_seconds = _rule(document)
    call.allow(Permission("write", "buckets", None, org_id))
    name = str(document.get("name", ""))
    _check_bucket_name(name)
    store.org(org_id)
    if any(one.org_id == org_id and one.name == name for one in store.state.buckets):
        raise Refused("conflict", f"bucket with name {name} already exists")
    bucket = store.add_bucket(
        org_id,
        name,
        "user",
        str(document.get("description", "")),
        retention_seconds or 0,
        shard_seconds or 0,
    )
    store.state.save()
    return Response(201, _bucket_document(bucket))


def patch_bucket(store: Store, call: Call) -> Response:
    """Change a bucket's retention, shard duration or description."""
    bucket_id = parse_id(call.which)
    document = read_document(call.body, "failed to unmarshal json")
    retention_seconds, shard_seconds = _rule(document)
    bucket = store.bucket(bucket_id)
    call.allow(Permission("write", "buckets", bucket.id, bucket.org_id))
    kept = retention_seconds if retention_seconds is not None else bucket.retention_seconds
    shard = shard_seconds if shard_seconds is not None else bucket.shard_seconds
    check_retention(kept)
    if 0 < kept < shard:
        raise Refused(
            "unprocessable entity",
            "shard-group duration must also be updated to be smaller than new retention duration",
        )
    changed = Bucket(**asdict(bucket) | {"retention_seconds": kept, "shard_seconds": shard})
    changed.description = str(document.get("description", bucket.description))
    store.keep(changed)
    store.state.buckets[store.state.buckets.index(bucket)] = changed
    store.state.save()
    return Response(200, _bucket_document(changed))


def delete_bucket(store: Store, call: Call) -> Response:
    """Delete a bucket and its database."""
    bucket = store.bucket(parse_id(call.which))
    call.allow(Permission("write", "buckets", bucket.id, bucket.org_id))
    if bucket.type == "system":
        raise Refused("invalid", "system buckets cannot be deleted")
    store.drop(bucket)
    store.state.save()
    return Response(204)


def _rule(document: Json) -> tuple[int | None, int | None]:
    """Retention and shard duration in seconds, as far as the document says them."""
    rules = document.get("retentionRules") or []
    if len(rules) > 1:
        raise Refused(
            "unprocessable entity", "buckets cannot have more than one retention rule at this time"
        )
    if not rules:
        return None, None
    every, shard = (rules[0].get(key) for key in ("everySeconds", "shardGroupDurationSeconds"))
    for value in (every, shard):
        if value is not None and not isinstance(value, int):
            raise Refused("invalid", "failed to unmarshal json: cannot unmarshal into int64")
    if every is not None and every < 0:
        raise Refused("unprocessable entity", "expiration seconds cannot be negative")
    if shard is not None and shard < 0:
        raise Refused("unprocessable entity", "shard-group duration seconds cannot be negative")
    return every, shard


def _check_bucket_name(name: str) -> None:
    if name.startswith("_"):
        raise Refused(
            "invalid", f"bucket name {name} is invalid. Buckets may not start with underscore"
        )
    if '"' in name:
        raise Refused(
            "invalid",
            f"bucket name {name} is invalid. Bucket names may not include quotation marks",
        )


def _bucket_document(bucket: Bucket) -> Json:
    return {
        "id": bucket.id,
        "orgID": bucket.org_id,
        "type": bucket.type,
        "name": bucket.name,
        "description": bucket.description,
        "retentionRules": [
            {
                "type": "expire",
                "everySeconds": bucket.retention_seconds,
                "shardGroupDurationSeconds": bucket.shard_seconds,
            }
        ],
        "createdAt": bucket.created_at,
        "updatedAt": bucket.created_at,
        "links": {"self": f"/api/v2/buckets/{bucket.id}", "org": f"/api/v2/orgs/{bucket.org_id}"},
        "labels": [],
    }
