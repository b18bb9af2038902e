"""``/api/v2/orgs``."""

from __future__ import annotations

from devtools.servers.influx_api.state import Org, Permission
from devtools.servers.influx_api.store import Call, Store
from devtools.servers.influx_api.wire import (
    Json,
    Refused,
    Response,
    page_of,
    parse_id,
    read_document,
)


def get_orgs(store: Store, call: Call) -> Response:
    """The organisations that the token may read, a page of them."""
    if "org" in call.query:
        found = [store.org_named(call.query["org"])]
    elif "orgID" in call.query:
        found = [store.org(parse_id(call.query["orgID"]))]
    else:
        found = store.state.orgs
    readable = [org for org in found if call.whose.may(Permission("read", "orgs", org.id))]
    return Response(
        200,
        {
            "links": {"self": "/api/v2/orgs"},
            "orgs": [_org_document(org) for org in page_of(readable, call.query)],
        },
    )


def get_org(store: Store, call: Call) -> Response:
    """One organisation."""
    org_id = parse_id(call.which)
    call.allow(Permission("read", "orgs", org_id))
    return Response(200, _org_document(store.org(org_id)))


def post_org(store: Store, call: Call) -> Response:
    """Make an organisation."""
    document = read_document(call.body, "failed to unmarshal json")
    name = str(document.get("name", ""))
    call.allow(Permission("write", "orgs"))
    if not name.strip():
        raise Refused("invalid", "org name is empty")
    if any(org.name.strip() == name.strip() for org in store.state.orgs):
        raise Refused("conflict", f"organization with name {name} already exists")
    org = store.add_org(name, str(document.get("description", "")))
    store.state.save()
    return Response(201, _org_document(org))


def delete_org(store: Store, call: Call) -> Response:
    """Delete an organisation with its buckets and their databases."""
    org_id = parse_id(call.which)
    call.allow(Permission("write", "orgs", org_id))
    org = store.org(org_id)
    for bucket in [one for one in store.state.buckets if one.org_id == org.id]:
        store.drop(bucket)
    store.state.orgs.remove(org)
    store.state.save()
    return Response(204)


def _org_document(org: Org) -> Json:
    return {
        "links": {"self": f"/api/v2/orgs/{org.id}"},
        "id": org.id,
        "name": org.name,
        "description": org.description,
        "createdAt": org.created_at,
        "updatedAt": org.created_at,
    }
