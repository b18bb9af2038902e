"""``etlctl stack pin``: the digests that the engine has, and no others."""

from __future__ import annotations

import json
from pathlib import Path

from common.exit_codes import ExitCode
from etlctl.stack.docker import Docker
from etlctl.stack.pin import find_pins
from tests.unit.etlctl.stack.world import Stack

DIGEST = "sha256:" + "a" * 64


def test_only_what_the_engine_knows_is_pinned(stack: Stack) -> None:
    docker = stack.docker
    docker.respond("image", "inspect", code=1, err="Error: No such image\n")
    docker.respond(
        "image", "redis:8", out=json.dumps([f"other/redis@{DIGEST[:-1]}b", f"redis@{DIGEST}"])
    )
    docker.respond("image", "host:5000/a/b:1", out=json.dumps([f"host:5000/a/b@{DIGEST}"]))
    docker.respond("image", "docker.io/library/nginx", out=json.dumps([f"nginx@{DIGEST}"]))
    docker.respond("image", "local:1", out="[]\n")
    docker.respond("image", "moved:1", out=json.dumps([f"elsewhere/moved@{DIGEST}"]))
    images = {
        "fixed": "x:1@sha256:1",
        "local": "local:1",
        "missing": "gone:1",
        "moved": "moved:1",
        "nginx": "docker.io/library/nginx",
        "port": "host:5000/a/b:1",
        "redis": "redis:8",
    }
    services = {name: {"image": image} for name, image in images.items()}
    services["own"] = {"image": "own:1", "build": "."}
    pins = find_pins(Docker(Path()), {"services": services})
    assert pins.images == {
        "fixed": "x:1@sha256:1",
        "nginx": f"docker.io/library/nginx@{DIGEST}",
        "port": f"host:5000/a/b:1@{DIGEST}",
        "redis": f"redis:8@{DIGEST}",
    }
    assert pins.left_out == [
        "local: local:1 has no digest: it was not pulled from there",
        "missing: gone:1: Error: No such image",
        "moved: moved:1 has no digest: it was not pulled from there",
        "own: its image is built here",
    ]
    assert json.loads(pins.override())["services"]["redis"] == {"image": f"redis:8@{DIGEST}"}


def test_the_override_is_written_and_what_is_left_out_is_named(stack: Stack) -> None:
    stack.services = {"redis": {"image": "redis:8"}, "a": {"image": "a:1"}}
    stack.docker.respond("image", "redis:8", out=json.dumps([f"redis@{DIGEST}"]))
    stack.docker.respond("image", "a:1", out="[]")
    assert stack.run("pin", "--output", "pinned.yml") == ExitCode.OK
    written = json.loads((stack.folder / "pinned.yml").read_text(encoding="utf-8"))
    assert written == {"services": {"redis": {"image": f"redis:8@{DIGEST}"}}}
    assert "a: a:1 has no digest" in stack.err


def test_without_any_digest_nothing_is_written(stack: Stack) -> None:
    stack.services = {"a": {"image": "a:1"}}
    stack.docker.respond("image", "a:1", out="[]")
    assert stack.run("pin") == ExitCode.CONFIG
    assert "no image has a digest" in stack.err
    assert not (stack.folder / "docker-compose.pinned.yml").exists()


def test_a_file_that_cannot_be_written_is_named(stack: Stack) -> None:
    stack.services = {"redis": {"image": "redis:8"}}
    stack.docker.respond("image", "redis:8", out=json.dumps([f"redis@{DIGEST}"]))
    assert stack.run("pin", "--output", "none/pinned.yml") == ExitCode.CONFIG
    assert "none/pinned.yml: cannot be written: No such file or directory" in stack.err
