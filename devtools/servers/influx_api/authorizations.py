"""``/api/v2/authorizations``: tokens and what they may."""

from __future__ import annotations

from devtools.servers.influx_api.state import Authorization, Permission
from devtools.servers.influx_api.store import USER, Call, Store, new_token
from devtools.servers.influx_api.wire import Json, Refused, Response, parse_id, read_document


def get_authorizations(store: Store, call: Call) -> Response:
    """The authorizations that the token may read."""
    org_id = parse_id(call.query["orgID"]) if "orgID" in call.query else None
    if org_id is None and "org" in call.query:
        org_id = store.org_named(call.query["org"]).id
    readable = [
        _authorization_document(store, one)
        for one in store.state.authorizations
        if org_id in (None, one.org_id)
        and call.whose.may(Permission("read", "authorizations", one.id, one.org_id))
        and call.whose.may(Permission("read", "users", store.state.user_id))
    ]
    return Response(200, {"links": {"self": "/api/v2/authorizations"}, "authorizations": readable})


def get_authorization(store: Store, call: Call) -> Response:
    """One authorization."""
    one = _allowed(store, call, "read")
    return Response(200, _authorization_document(store, one))


def post_authorization(store: Store, call: Call) -> Response:
    """Make a token with rights that its maker has."""
    document = read_document(call.body, "invalid json structure")
    wanted = document.get("permissions") or []
    if not wanted:
        raise Refused("invalid", "authorization must include permissions")
    permissions = [Permission.read(one) for one in wanted]
    if document.get("orgID") is None:
        raise Refused("invalid", "org id required: invalid ID")
    org_id = parse_id(document["orgID"])
    call.allow(Permission("write", "authorizations", None, org_id))
    call.allow(Permission("write", "users", store.state.user_id))
    for permission in permissions:
        if not call.whose.may(permission):
            raise Refused(
                "forbidden",
                f"permission {permission} is not allowed: {permission} is unauthorized",
            )
        if permission.org_id not in (None, org_id):
            raise Refused("invalid", f"permission {permission} is not for org id {org_id}")
    if all(org.id != org_id for org in store.state.orgs):
        raise Refused("invalid", "unable to create token")
    one = store.add_authorization(
        org_id, str(document.get("description", "")), permissions, new_token()
    )
    store.state.save()
    return Response(201, _authorization_document(store, one))


def patch_authorization(store: Store, call: Call) -> Response:
    """Change whether a token is active, or its description."""
    document = read_document(call.body, "invalid json structure")
    one = _allowed(store, call, "write")
    status = document.get("status", one.status)
    if status not in ("active", "inactive"):
        raise Refused("invalid", "unknown authorization status")
    one.status = status
    one.description = str(document.get("description", one.description))
    store.state.save()
    return Response(200, _authorization_document(store, one))


def delete_authorization(store: Store, call: Call) -> Response:
    """Delete a token."""
    store.state.authorizations.remove(_allowed(store, call, "write"))
    store.state.save()
    return Response(204)


def _allowed(store: Store, call: Call, action: str) -> Authorization:
    one = store.authorization(parse_id(call.which))
    call.allow(Permission(action, "authorizations", one.id, one.org_id))
    call.allow(Permission(action, "users", store.state.user_id))
    return one


def _authorization_document(store: Store, one: Authorization) -> Json:
    return {
        "id": one.id,
        "token": one.token,
        "status": one.status,
        "description": one.description,
        "orgID": one.org_id,
        "org": store.name_of("orgs", one.org_id),
        "userID": store.state.user_id,
        "user": USER,
        "permissions": [
            {"action": permission.action, "resource": _resource_document(store, permission)}
            for permission in one.permissions
        ],
        "links": {
            "self": f"/api/v2/authorizations/{one.id}",
            "user": f"/api/v2/users/{store.state.user_id}",
        },
        "createdAt": one.created_at,
        "updatedAt": one.created_at,
    }


def _resource_document(store: Store, permission: Permission) -> Json:
    named = {
        "type": permission.type,
        "id": permission.id,
        "orgID": permission.org_id,
        "name": store.name_of(permission.type, permission.id),
        "org": store.name_of("orgs", permission.org_id),
    }
    return {key: value for key, value in named.items() if value is not None}
