"""All is well, or not all of it: what is said, and what the command ends with."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.exit_codes import ExitCode
from devtools.servers.ports import free_port
from tests.integration.etlctl.doctor.world import World
from tests.support.secret_folders import run

SERVERS = ("configuration", "prometheus", "redis", "influxdb")


def options(*sections: str) -> list[str]:
    return [word for section in sections for word in ("--only", section)]


def test_all_is_well(world: World) -> None:
    found = world.look(*SERVERS)
    assert {level for level, _ in found.values()} == {"ok"}, found
    assert {section for section, _ in found} == set(SERVERS)
    assert (world.code, world.document["well"], world.document["failures"]) == (0, True, 0)
    code, out, err = run(world.capsys, "doctor", "--config", str(world.config), *options(*SERVERS))
    assert (code, err) == (0, "")
    assert out.endswith("All is well.\n")


@pytest.mark.parametrize(
    ("section", "key", "url"),
    [
        ("prometheus", "extract.prometheus_url", "http://127.0.0.1:{}"),
        ("redis", "pipeline.redis_url", "redis://127.0.0.1:{}/0"),
        ("influxdb", "load.influxdb.url", "http://127.0.0.1:{}"),
    ],
)
def test_a_server_that_is_away_is_one_failure_and_the_others_are_looked_at(
    world: World, section: str, key: str, url: str
) -> None:
    world.changes[key] = url.format(free_port())
    found = world.look(*SERVERS)
    assert world.code == ExitCode.ERROR
    of_it = {check: said for (one, check), said in found.items() if one == section}
    assert of_it.keys() == {"reachable"}
    level, text = of_it["reachable"]
    assert level == "failure" and "refused" in text and " → check " in text
    others = {level for (one, _), (level, _) in found.items() if one != section}
    # Without Prometheus nobody knows which measurements are ours, and there are none.
    assert others == {"ok"}, found


def test_lines_fit_eighty_columns(world: World) -> None:
    world.queries = [{"name": "q", "expr": "sum(nothing) / on () sum(" + "a" * 99 + ")", "step": 5}]
    world.changes |= {
        "pipeline.redis_url": f"redis://127.0.0.1:{free_port()}/0",
        "load.influxdb.url": f"http://127.0.0.1:{free_port()}",
    }
    world.write()
    code, out, _ = run(world.capsys, "doctor", "--config", str(world.config), *options(*SERVERS))
    assert code == ExitCode.ERROR
    assert "  warning  query q: matches no series now" in out
    assert out.endswith("2 failures, 1 warning.\n")
    assert max(map(len, out.splitlines())) <= 80


def test_a_configuration_that_cannot_be_used_leaves_nothing_to_ask(world: World) -> None:
    world.changes["extract.timeout"] = "soon"
    found = world.look(*SERVERS)
    assert world.code == ExitCode.CONFIG == world.document["exit_code"]
    assert found.keys() == {("configuration", "file")}
    level, text = found["configuration", "file"]
    assert level == "failure" and "extract.timeout: 'soon' is not a duration" in text
    assert world.look("redis").keys() == {("configuration", "file")}


def test_a_section_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "doctor", "--only", "kafka")
    assert (code, out) == (ExitCode.CONFIG, "")
    assert "--only: no section 'kafka': there are configuration, prometheus" in err


def test_a_secret_that_every_user_can_read(world: World, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t0ken\n", encoding="utf-8")
    token.chmod(0o644)
    world.changes["load.influxdb.token_file"] = str(token)
    found = world.look(*SERVERS)
    assert world.code == ExitCode.ERROR
    level, text = found["configuration", "file"]
    assert level == "failure" and "which every user can read (mode 0644): make it 0600" in text
    assert found["influxdb", "secrets"][0] == "failure"
    assert ("influxdb", "reachable") not in found
    assert found["prometheus", "reachable"][0] == found["redis", "rights"][0] == "ok"

    token.chmod(0o600)
    assert "1 in files" in world.of("configuration")["secrets"][1]
    assert world.code == 0


def test_a_secret_in_a_configuration_that_every_user_can_read(world: World) -> None:
    world.changes["load.influxdb.token"] = "t0ken"
    world.write()
    world.config.chmod(0o644)
    level, text = world.of("configuration")["secrets"]
    assert level == "warning" and "load.influxdb.token stands in" in text and "t0ken" not in text
    assert world.code == 0
    world.config.chmod(0o600)
    assert "secrets" not in world.of("configuration")


def test_a_token_that_sink_init_has_not_made_yet(world: World, tmp_path: Path) -> None:
    world.changes["load.influxdb.token_file"] = str(tmp_path / "none")
    level, text = world.of("configuration")["secrets"]
    assert level == "warning" and "`etlctl sink init` makes it" in text
