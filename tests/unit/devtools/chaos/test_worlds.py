"""The worlds that a run may be done in, without starting one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from common.config import load_settings
from common.state.ledger import Account
from devtools import PROJECT_ROOT
from devtools.chaos.__main__ import parsed, times_of
from devtools.chaos.rig import Rig
from devtools.chaos.suite import REQUIRED_EVENTS
from devtools.chaos.worlds.pair import PairRig
from devtools.chaos.worlds.push import PushRig, is_settled
from devtools.chaos.worlds.table import KINDS, ONE, WORLDS, World
from devtools.servers.stack_config import Endpoints, read_config, stack_config

PAGE = PROJECT_ROOT / "docs" / "reliability.md"
OTHERS = [world for name, world in WORLDS.items() if name != ONE]


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_each_kind_of_a_world_is_done_as_often_as_it_says(world: World) -> None:
    assert {kind.name for kind in world.kinds} == world.times.keys()
    assert times_of(parsed(["--world", world.name])) == world.times
    assert set(world.required_events) <= REQUIRED_EVENTS.keys()
    few = times_of(parsed(["--world", world.name, "--rounds", "2"]))
    assert few == {name: min(2, times) for name, times in world.times.items()}


@pytest.mark.parametrize("world", OTHERS, ids=[world.name for world in OTHERS])
def test_a_kind_of_its_own_is_done_as_often_as_any(world: World) -> None:
    own = [kind for kind in world.kinds if kind not in KINDS]
    assert own
    assert all(world.times[kind.name] == kind.times for kind in own)


def test_figures_of_each_world_have_a_file_of_their_own() -> None:
    files = [parsed(["--world", name]).json for name in WORLDS]
    assert files[0] == PROJECT_ROOT / "build" / "chaos.json"
    assert len(set(files)) == len(files)
    assert parsed(["--world", "push", "--json", "a.json"]).json == Path("a.json")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--world", "replicas", "--kinds", "push_away"], "push_away: not of the world replicas"),
        (["--kinds", "failover_kill"], "failover_kill: not of the world one"),
        (["--world", "push", "--short"], "--short is of the world one"),
        (["--world", "flat"], "invalid choice"),
    ],
)
def test_what_a_world_has_not_is_refused(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(arguments)

    assert ended.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("make", [Rig, PushRig, PairRig])
def test_its_configuration_is_valid(make: type[Rig], tmp_path: Path) -> None:
    rig = make("1", series=1, past_seconds=60, run_dir=tmp_path)
    secret = tmp_path / "secret"
    secret.write_text("a secret")
    secret.chmod(0o600)
    endpoints = Endpoints("http://a:1", "redis://a:2/0", secret, "http://a:3", secret)
    base = read_config(PROJECT_ROOT / "config" / "etl.yaml")
    config = stack_config(base, endpoints, rig.stack.pace, rig.config())
    file = tmp_path / "etl.yaml"
    file.write_text(yaml.safe_dump(config))
    direct = {"ETL__LOAD__INFLUXDB__URL": "http://a:3"}

    settings = load_settings(file, environ=direct)

    assert {query.name for query in settings.extract.queries} >= {"test_app", "load_a"}
    assert len(settings.extract.replicas) == (2 if make is PairRig else 0)
    assert bool(settings.extract.push.password.get_secret_value()) == (make is PushRig)


def test_replicas_say_which_they_are_and_scrape_the_same(tmp_path: Path) -> None:
    rig = PairRig("1", series=1, past_seconds=60, run_dir=tmp_path)
    first, second = rig.prometheus_servers()

    assert [job.name for job in first.jobs] == [job.name for job in second.jobs]
    for server in (first, second):
        rules = [job.settings["relabel_configs"] for job in server.jobs]
        assert rules == [[{"target_label": "replica", "replacement": server.name}]] * len(rules)


@pytest.mark.parametrize(
    ("account", "settled"),
    [
        (Account(extracted=9, loaded=7, dropped={"rejected": 2}), True),
        (None, False),
        (Account(), False),
        (Account(extracted=9, loaded=8), False),
        (Account(extracted=9, loaded=8, in_flight=1), False),
        (Account(extracted=9, loaded=8, dead_lettered=1), False),
    ],
)
def test_an_account_of_what_was_pushed_must_have_come_to_an_end(
    account: Account | None, settled: bool
) -> None:
    assert is_settled(account) == settled


def test_the_page_tells_what_each_world_does() -> None:
    section = PAGE.read_text(encoding="utf-8").split("### Other worlds")[1].split("\n### ")[0]
    rows = re.findall(r"^\| `([a-z0-9_]+)` \| (\d+) \| (\d+) \|", section, re.MULTILINE)
    own = {kind for world in OTHERS for kind in world.kinds if kind not in KINDS}

    assert sorted(rows) == sorted((k.name, str(k.times), str(k.batch)) for k in own)
    for world in OTHERS:
        (line,) = re.findall(rf"^\| `--world {world.name}` \|.*$", section, re.MULTILINE)
        others = [kind.name for kind in world.kinds if kind in KINDS]
        assert [name for name in others if f"`{name}` {world.times[name]}" not in line] == []
