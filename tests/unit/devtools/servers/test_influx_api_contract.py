"""InfluxDB 2's management API as its source describes it, asked of a real one or the stand-in."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from services.verifier.sink.started import started
from tests.doubles.influx_management import Influx, Place, a_place, an_influx, permission

NO_SUCH_ID = "0123456789abcdef"
DAY = 86_400


@pytest.fixture(scope="module")
def influx() -> Iterator[Influx]:
    with an_influx() as found:
        yield found


@pytest.fixture
def place(influx: Influx) -> Iterator[Place]:
    with a_place(influx) as made:
        yield made


def refused(response: requests.Response, status: int, code: str, words: str) -> None:
    """``answer`` is this error, as InfluxDB writes errors."""
    assert response.status_code == status, response.text
    document = response.json()
    assert document["code"] == code
    assert words in document["message"]
    assert response.headers["X-Platform-Error-Code"] == code


# -- who asks ----------------------------------------------------------------------------------


def test_health_needs_no_token(influx: Influx) -> None:
    response = influx.ask("GET", "/health", token=None)
    assert response.status_code == 200
    assert response.json()["status"] == "pass"
    assert response.json()["name"] == "influxdb"


def test_it_says_when_it_was_started(influx: Influx) -> None:
    first, again = (influx.ask("GET", "/ready", token=None) for _ in range(2))
    assert first.status_code == 200
    assert first.json()["status"] == "ready"
    assert started(first.content) == started(again.content) == first.json()["started"]


@pytest.mark.parametrize("token", [None, "nobody's"])
@pytest.mark.parametrize("path", ["/api/v2/orgs", "/api/v2/buckets", "/api/v2/authorizations"])
def test_an_unknown_token_is_unauthorized(influx: Influx, path: str, token: str | None) -> None:
    refused(influx.ask("GET", path, token=token), 401, "unauthorized", "unauthorized access")


@pytest.mark.parametrize("scheme", ["Token", "token", "Bearer"])
def test_a_token_has_two_schemes(influx: Influx, scheme: str) -> None:
    response = requests.get(
        f"{influx.url}/api/v2/orgs",
        headers={"Authorization": f"{scheme} {influx.admin_token}"},
        timeout=30,
    )
    assert response.status_code == 200


# -- organisations -----------------------------------------------------------------------------


def test_an_organisation_is_found_by_name(influx: Influx, place: Place) -> None:
    response = influx.ask("GET", "/api/v2/orgs", org=place.org)
    assert response.status_code == 200
    assert [(org["id"], org["name"]) for org in response.json()["orgs"]] == [
        (place.org_id, place.org)
    ]
    assert influx.ask("GET", f"/api/v2/orgs/{place.org_id}").json()["name"] == place.org


def test_an_unknown_organisation_is_not_found(influx: Influx) -> None:
    name = f"none-{uuid.uuid4().hex}"
    words = f'organization name "{name}" not found'
    refused(influx.ask("GET", "/api/v2/orgs", org=name), 404, "not found", words)
    response = influx.ask("GET", f"/api/v2/orgs/{NO_SUCH_ID}")
    refused(response, 404, "not found", "organization not found")


def test_an_organisation_is_made_once(influx: Influx, place: Place) -> None:
    response = influx.ask("POST", "/api/v2/orgs", {"name": place.org})
    refused(response, 422, "conflict", f"organization with name {place.org} already exists")
    response = influx.ask("POST", "/api/v2/orgs", {"name": ""})
    refused(response, 400, "invalid", "org name is empty")


def test_an_organisation_has_buckets_of_the_system(influx: Influx, place: Place) -> None:
    found = influx.ask("GET", "/api/v2/buckets", orgID=place.org_id).json()["buckets"]
    assert {(bucket["name"], bucket["type"]) for bucket in found} == {
        ("_tasks", "system"),
        ("_monitoring", "system"),
    }


# -- buckets -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("retention", "shard"),
    [
        (0, 7 * DAY),
        (3600, 3600),
        (2 * DAY - 1, 3600),
        (2 * DAY, DAY),
        (180 * DAY - 1, DAY),
        (180 * DAY, 7 * DAY),
    ],
)
def test_the_server_chooses_how_long_a_shard_lasts(
    place: Place, retention: int, shard: int
) -> None:
    made = place.bucket("b", everySeconds=retention)
    assert made["retentionRules"] == [
        {"type": "expire", "everySeconds": retention, "shardGroupDurationSeconds": shard}
    ]
    assert place.rules() == {"b": (retention, shard)}


def test_a_bucket_without_rule_keeps_for_ever(place: Place) -> None:
    assert place.bucket("b")["retentionRules"][0]["everySeconds"] == 0


def test_a_bucket_is_found_by_name_in_its_organisation(influx: Influx, place: Place) -> None:
    made = place.bucket("b")
    for query in ({"orgID": place.org_id}, {"org": place.org}):
        response = influx.ask("GET", "/api/v2/buckets", name="b", **query)
        assert [bucket["id"] for bucket in response.json()["buckets"]] == [made["id"]]
    response = influx.ask("GET", "/api/v2/buckets", name="c", orgID=place.org_id)
    refused(response, 404, "not found", 'bucket "c" not found')
    response = influx.ask("GET", f"/api/v2/buckets/{NO_SUCH_ID}")
    refused(response, 404, "not found", "bucket not found")


def test_pages_are_of_twenty_and_at_most_a_hundred(influx: Influx, place: Place) -> None:
    for number in range(21):
        place.bucket(f"b{number:02}")
    first = influx.ask("GET", "/api/v2/buckets", orgID=place.org_id).json()["buckets"]
    assert len(first) == 20
    response = influx.ask("GET", "/api/v2/buckets", orgID=place.org_id, limit="100")
    assert len(response.json()["buckets"]) == 23
    for limit in ("0", "101"):
        response = influx.ask("GET", "/api/v2/buckets", limit=limit)
        refused(response, 400, "invalid", "limit must be between 1 and 100")


@pytest.mark.parametrize(
    ("change", "status", "code", "words"),
    [
        ({"name": "taken"}, 422, "conflict", "bucket with name taken already exists"),
        ({"name": "_mine"}, 400, "invalid", "Buckets may not start with underscore"),
        ({"name": 'a"b'}, 400, "invalid", "Bucket names may not include quotation marks"),
        ({"orgID": None}, 400, "invalid", "organization id must be provided"),
        ({"orgID": NO_SUCH_ID}, 404, "not found", "organization not found"),
        (
            {"retentionRules": [{"everySeconds": 60}]},
            500,
            "internal error",
            "retention policy duration must be at least 1h0m0s",
        ),
        (
            {"retentionRules": [{"everySeconds": 3600}, {"everySeconds": 7200}]},
            422,
            "unprocessable entity",
            "buckets cannot have more than one retention rule",
        ),
        (
            {"retentionRules": [{"everySeconds": -1}]},
            422,
            "unprocessable entity",
            "expiration seconds cannot be negative",
        ),
    ],
)
def test_a_bucket_that_cannot_be_made(
    influx: Influx, place: Place, change: dict[str, Any], status: int, code: str, words: str
) -> None:
    place.bucket("taken")
    document = {"name": "b", "orgID": place.org_id, "retentionRules": []} | change
    document = {key: value for key, value in document.items() if value is not None}
    refused(influx.ask("POST", "/api/v2/buckets", document), status, code, words)
    assert place.rules().keys() == {"taken"}


def test_a_shard_may_not_outlast_the_retention(influx: Influx, place: Place) -> None:
    made = place.bucket("b", everySeconds=30 * DAY)
    path = f"/api/v2/buckets/{made['id']}"
    shorter = {"retentionRules": [{"type": "expire", "everySeconds": 3600}]}
    refused(
        influx.ask("PATCH", path, shorter),
        422,
        "unprocessable entity",
        "shard-group duration must also be updated to be smaller than new retention duration",
    )
    assert place.rules() == {"b": (30 * DAY, DAY)}
    shorter["retentionRules"][0]["shardGroupDurationSeconds"] = 3600
    assert influx.ask("PATCH", path, shorter).status_code == 200
    assert place.rules() == {"b": (3600, 3600)}


def test_a_bucket_that_is_not_there_cannot_be_changed(influx: Influx) -> None:
    document = {"retentionRules": [{"type": "expire", "everySeconds": 3600}]}
    response = influx.ask("PATCH", f"/api/v2/buckets/{NO_SUCH_ID}", document)
    refused(response, 404, "not found", "bucket not found")


# -- authorizations ----------------------------------------------------------------------------


def test_a_token_is_made_by_the_server(place: Place) -> None:
    bucket = place.bucket("b")["id"]
    made = place.authorize(("read", bucket), ("write", bucket), description="for a test")
    assert len(made["token"]) == 88
    assert (made["status"], made["description"]) == ("active", "for a test")
    assert {
        (one["action"], one["resource"]["id"], one["resource"]["type"], one["resource"]["orgID"])
        for one in made["permissions"]
    } == {(action, bucket, "buckets", place.org_id) for action in ("read", "write")}
    assert made["id"] in {one["id"] for one in place.authorizations()}


def test_a_token_may_no_more_than_it_says(influx: Influx, place: Place) -> None:
    mine, other = place.bucket("mine")["id"], place.bucket("other")["id"]
    token = place.authorize(("read", mine), ("write", mine))["token"]

    seen = influx.ask("GET", "/api/v2/buckets", token=token, orgID=place.org_id)
    assert [bucket["id"] for bucket in seen.json()["buckets"]] == [mine]
    assert influx.ask("GET", "/api/v2/orgs", token=token, org=place.org).json()["orgs"] == []
    response = influx.ask("GET", "/api/v2/authorizations", token=token, orgID=place.org_id)
    assert response.json()["authorizations"] == []

    response = influx.ask(
        "POST", "/api/v2/buckets", {"orgID": place.org_id, "name": "more"}, token=token
    )
    refused(response, 401, "unauthorized", f"write:orgs/{place.org_id}/buckets is unauthorized")
    response = influx.ask("GET", f"/api/v2/buckets/{other}", token=token)
    refused(response, 401, "unauthorized", f"read:orgs/{place.org_id}/buckets/{other} is unauthor")
    response = influx.ask("POST", "/api/v2/orgs", {"name": "more"}, token=token)
    refused(response, 401, "unauthorized", "write:orgs is unauthorized")

    assert influx.write_status(token, place.org, "mine") == 204
    assert influx.write_status(token, place.org_id, mine) == 204
    assert influx.write_status(token, place.org, "other") == 403
    assert influx.write_status(token, place.org, "none") == 404
    assert influx.write_status(token, "none", "mine") == 404
    assert influx.write_status("nobody's", place.org, "mine") == 401
    assert influx.may_query(token, "mine")
    assert not influx.may_query(token, "other")
    assert not influx.may_query(token, "none")
    assert not influx.may_query("nobody's", "mine")


def test_who_may_only_write_cannot_read(influx: Influx, place: Place) -> None:
    bucket = place.bucket("b")["id"]
    token = place.authorize(("write", bucket))["token"]
    assert influx.write_status(token, place.org, "b") == 204
    assert not influx.may_query(token, "b")
    found = influx.query(token, "b", 'SELECT "value" FROM "m"')
    assert found == (200, {"statement_id": 0, "error": "database not found: b"})
    assert influx.query(token, "b", "SHOW MEASUREMENTS") == (200, {"statement_id": 0})


def test_a_deleted_token_is_unknown_at_once(influx: Influx, place: Place) -> None:
    bucket = place.bucket("b")["id"]
    made = place.authorize(("write", bucket))
    path = f"/api/v2/authorizations/{made['id']}"
    assert influx.ask("DELETE", path).status_code == 204
    assert influx.write_status(made["token"], place.org, "b") == 401
    response = influx.ask("GET", "/api/v2/buckets", token=made["token"])
    refused(response, 401, "unauthorized", "unauthorized access")
    refused(influx.ask("DELETE", path), 404, "not found", "authorization not found")


def test_an_inactive_token_may_nothing(influx: Influx, place: Place) -> None:
    bucket = place.bucket("b")["id"]
    made = place.authorize(("read", bucket), ("write", bucket))
    path = f"/api/v2/authorizations/{made['id']}"
    assert influx.ask("PATCH", path, {"status": "inactive"}).json()["status"] == "inactive"
    assert influx.write_status(made["token"], place.org, "b") == 403
    assert not influx.may_query(made["token"], "b")
    seen = influx.ask("GET", "/api/v2/buckets", token=made["token"], orgID=place.org_id)
    assert seen.json()["buckets"] == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"permissions": []}, "authorization must include permissions"),
        ({"orgID": None}, "org id required"),
        ({"orgID": NO_SUCH_ID}, "is not for org id"),
        (
            {"permissions": [{"action": "read", "resource": {"type": "nonsense"}}]},
            "invalid resource type for permission",
        ),
        (
            {"permissions": [{"action": "own", "resource": {"type": "buckets"}}]},
            "invalid action type for permission",
        ),
    ],
)
def test_an_authorization_that_cannot_be_made(
    influx: Influx, place: Place, change: dict[str, Any], words: str
) -> None:
    right = permission("read", place.bucket("b")["id"], place.org_id)
    document = {"orgID": place.org_id, "permissions": [right]} | change
    document = {key: value for key, value in document.items() if value is not None}
    response = influx.ask("POST", "/api/v2/authorizations", document)
    refused(response, 400, "invalid", words)
    assert place.authorizations() == []
