"""What a run does, in which order, and what it writes; without doing it."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from common.runtime.events_table import EVENTS
from devtools import PROJECT_ROOT
from devtools.chaos.__main__ import SHORT_REQUIRED_EVENTS, SHORT_TIMES, parsed, times_of
from devtools.chaos.comparing import Compared
from devtools.chaos.epochs import Count
from devtools.chaos.journal import DETAIL_FIELDS
from devtools.chaos.past import PastFound
from devtools.chaos.proving import VerifierSaid, contradictions
from devtools.chaos.report import as_json
from devtools.chaos.sealed import SealsFound
from devtools.chaos.suite import REQUIRED_EVENTS, KindResult, Result, schedule
from devtools.chaos.worlds.table import KINDS, WORLDS

PAGE = PROJECT_ROOT / "docs" / "reliability.md"
FULL = times_of(parsed([]))


def test_a_full_run_does_every_kind_twenty_times_or_says_why_not() -> None:
    assert FULL.keys() == {kind.name for kind in KINDS}
    for kind in KINDS:
        assert FULL[kind.name] >= (3 if kind.slow else 20), kind.name


def test_kinds_have_names_of_their_own() -> None:
    kinds = {kind for world in WORLDS.values() for kind in world.kinds}
    assert max(Counter(kind.name for kind in kinds).values()) == 1


def test_the_schedule_holds_what_was_asked_for_in_batches() -> None:
    batches = schedule(KINDS, FULL, "1")

    done: Counter[str] = Counter()
    for kind, times in batches:
        assert 1 <= times <= kind.batch
        done[kind.name] += times
    assert done == FULL


def test_a_seed_gives_the_same_order_again_and_another_seed_another() -> None:
    def order(seed: str) -> list[str]:
        return [kind.name for kind, _ in schedule(KINDS, FULL, seed)]

    assert order("1") == order("1")
    assert order("1") != order("2")


@pytest.mark.parametrize(
    ("arguments", "kind", "times"),
    [
        (["--rounds", "2"], "kill_loader", 2),
        (["--rounds", "2"], "redis_lost", 2),
        (["--rounds", "9"], "redis_lost", 3),
        (["--short"], "kill_loader", SHORT_TIMES["kill_loader"]),
        (["--kinds", "kill_loader"], "kill_loader", 20),
    ],
)
def test_how_often_a_kind_is_done(arguments: list[str], kind: str, times: int) -> None:
    assert times_of(parsed(arguments))[kind] == times


def test_only_the_chosen_kinds_are_done() -> None:
    assert times_of(parsed(["--kinds", "redis_cut", "sigterm"])).keys() == {"redis_cut", "sigterm"}


def test_the_short_selection_names_kinds_that_there_are() -> None:
    assert SHORT_TIMES.keys() <= {kind.name for kind in KINDS}
    assert set(SHORT_REQUIRED_EVENTS) <= REQUIRED_EVENTS.keys()


def test_the_seed_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAOS_SEED", "42")
    assert parsed([]).seed == "42"

    monkeypatch.delenv("CHAOS_SEED")
    assert parsed([]).seed != parsed([]).seed


def test_a_kind_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(["--kinds", "meteor"])

    assert ended.value.code == 2
    assert "meteor" in capsys.readouterr().err


def test_events_that_must_be_seen_are_events_of_the_project() -> None:
    kinds = {kind for world in WORLDS.values() for kind in world.kinds}
    wanted = {event for kind in kinds for _, event in kind.expected_events} | REQUIRED_EVENTS.keys()

    for event in wanted:
        name, _, detail = event.partition(":")
        assert name in EVENTS
        assert not detail or name in DETAIL_FIELDS


def test_details_are_fields_of_their_events() -> None:
    for name, field in DETAIL_FIELDS.items():
        labels = EVENTS[name].labels  # nothing where no metric needs a field
        assert not labels or field in labels


def ended(**fields: object) -> Result:
    found = Result("7")
    for name, value in fields.items():
        setattr(found, name, value)
    return found


def test_lost_and_duplicated_are_counted_in_the_sink_and_in_the_ledgers() -> None:
    result = ended(
        whole=[Compared(0, 1, missing=3, extra=5, different=7), Compared(1, 2, missing=1)],
        feeds=[Count("a", recorded=10, wanted=12), Count("b", recorded=30, wanted=10)],
    )

    assert result.lost == 3 + 7 + 1 + 2
    assert result.duplicated == 5 + 20


def test_the_document_has_the_agreed_keys_and_no_others() -> None:
    kind = KINDS[0]
    result = ended(
        kinds={kind.name: KindResult(kind, 20, 4.26)},
        extracted=100,
        whole=[
            Compared(0, 1, equal=3),
            Compared(1, 2, equal=4),
            Compared(0, 2, equal=20, tier="warm"),
            Compared(0, 2, equal=6, tier="warm", queries=("past",)),
        ],
        past=PastFound(4, 1, 2, 60, 9.4),
        seals=SealsFound(3, 90),
        verifier=VerifierSaid({"up": 50}, {"up": 4}),
        verifier_alarms=1,
        worst_imbalance_samples=0,
        events={"entry_claimed": 8, "settlement_refused": 2},
    )

    assert as_json(result) == {
        "seed": "7",
        "faults": [{"kind": kind.name, "count": 20, "max_recovery_seconds": 4.3}],
        "samples_extracted": 100,
        "sealed_windows_intact": 3,
        "sealed_points_intact": 90,
        "points_equal": {"hot": 7, "warm": 20, "warm of past": 6},
        "backfill": {
            "begun": 4,
            "lost_with_redis": 1,
            "cancelled": 2,
            "samples": 60,
            "seconds_beside_the_faults": 9,
        },
        "verifier_differing_points": 4,
        "verifier_alarms": 1,
        "samples_lost": 0,
        "samples_duplicated": 0,
        "ledger_max_imbalance": 0,
        "redeliveries": 8,
        "double_settlements_refused": 2,
    }


def test_a_verifier_that_says_what_the_oracle_found_contradicts_nothing() -> None:
    content = VerifierSaid({"up": 50, "b": 60}, {"up": 0, "b": 0})
    whole = [Compared(0, 50, equal=3, refused=1)]
    assert contradictions(content, {"up": 50, "b": 60}, whole) == []
    assert content.is_content({"up": 50, "b": 60})
    assert not content.is_content({"up": 51, "b": 50})
    alarmed = VerifierSaid({"up": 50}, {"up": 2})
    assert contradictions(alarmed, {"up": 50}, [Compared(0, 50, missing=2)]) == []
    assert not alarmed.is_content({"up": 50})


@pytest.mark.parametrize(
    ("said", "whole", "words"),
    [
        (VerifierSaid({"up": 49}, {"up": 0}), Compared(0, 50), "only up to 49, not 50"),
        (VerifierSaid(), Compared(0, 50), "only up to None"),
        (VerifierSaid({"up": 50}, {"up": 2}), Compared(0, 50), r"\{'up': 2\}; .* found 0"),
        (VerifierSaid({"up": 50}, {"up": 0}), Compared(0, 50, extra=1), r"\{\}; .* found 1"),
    ],
)
def test_a_verifier_that_says_something_else_is_a_problem(
    said: VerifierSaid, whole: Compared, words: str
) -> None:
    (problem,) = contradictions(said, {"up": 50}, [whole])
    assert re.search(words, problem)
    assert not (said.is_content({"up": 50}) and not whole.extra)


def test_a_kind_that_did_not_recover_has_no_recovery_time() -> None:
    kind = KINDS[0]
    result = ended(kinds={kind.name: KindResult(kind, 1, float("inf"))})

    assert as_json(result)["faults"][0]["max_recovery_seconds"] is None


def test_the_page_tells_every_kind_as_it_is_and_no_other() -> None:
    section = PAGE.read_text(encoding="utf-8").split("### The faults")[1].split("\n### ")[0]
    rows = re.findall(r"^\| `([a-z0-9_]+)` \| (\d+) \| (\d+) \|", section, re.MULTILINE)

    assert sorted(rows) == sorted((k.name, str(k.times), str(k.batch)) for k in KINDS)
