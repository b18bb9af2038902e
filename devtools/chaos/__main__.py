"""``python -m devtools.chaos``: break everything, prove that nothing was lost."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from common.errors import EtlError
from common.exit_codes import ExitCode
from devtools import PROJECT_ROOT
from devtools.chaos.faults import backfill
from devtools.chaos.kinds import QUICK_TIMES, SLOW_TIMES
from devtools.chaos.report import as_json, fault_table, figures
from devtools.chaos.rig import BACKFILL_RATE
from devtools.chaos.suite import REQUIRED_EVENTS, Suite, schedule
from devtools.chaos.worlds.table import ONE, SERIES, SERIES_OF_OTHERS, WORLDS
from devtools.servers.main import run_main

SHORT_SERIES = 1_000

# What `--short` does: a few of the kinds that break most, within two minutes. What other tests
# do to a whole pipeline is left to them.
SHORT_TIMES: Mapping[str, int] = {
    "kill_extractor": 1,
    "kill_loader": 1,
    "sigstop": 1,
    "hurt_verifier": 1,
    "redis_kill": 1,
    "redis_cut": 2,
    "sink_answer_lost": 2,
    "bad_point": 1,
    "backfill_paused": 1,
}
# It lasts until its fault comes, which is the first.
SHORT_PAST_SECONDS, SHORT_BACKFILL_RATE = 900, 500.0
# A proof waits until all is loaded, which takes as long as most of these faults.
SHORT_BATCHES_PER_PROOF = 2
# That a frozen worker's settlement is refused takes more tries than there is time for.
SHORT_REQUIRED_EVENTS = ("entry_claimed", "sink_refused_points")


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; exits with 2 when it is wrong."""
    names = sorted({name for world in WORLDS.values() for name in world.times})
    parser = argparse.ArgumentParser(prog="python -m devtools.chaos", description=__doc__)
    parser.add_argument(
        "--seed",
        default=os.environ.get("CHAOS_SEED") or str(random.SystemRandom().randrange(10**6)),
        help="what all random choices come from; CHAOS_SEED, else drawn and printed",
    )
    worlds = "; ".join(f"{world.name}: {world.what}" for world in WORLDS.values())
    parser.add_argument("--world", choices=WORLDS, default=ONE, help=f"{worlds} ({ONE})")
    parser.add_argument(
        "--kinds", nargs="+", choices=names, metavar="KIND", help=f"some of {', '.join(names)}"
    )
    parser.add_argument("--short", action="store_true", help="a selection within two minutes")
    parser.add_argument(
        "--rounds",
        type=int,
        default=QUICK_TIMES,
        metavar="N",
        help=f"how often each kind is done ({QUICK_TIMES}); slow ones {SLOW_TIMES} times at most",
    )
    parser.add_argument(
        "--series",
        type=int,
        help=f"series, scraped 4 times a second ({SERIES:,}; with --short {SHORT_SERIES:,};"
        f" in other worlds {SERIES_OF_OTHERS:,})",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="build/chaos[-WORLD].json")
    parser.add_argument("--keep-data", action="store_true", help="leave the servers' data behind")
    options = parser.parse_args(arguments)
    world = WORLDS[options.world]
    if options.short and world.name != ONE:
        parser.error(f"--short is of the world {ONE}")
    if others := sorted(set(options.kinds or ()) - world.times.keys()):
        parser.error(f"--kinds {', '.join(others)}: not of the world {world.name}")
    suffix = "" if world.name == ONE else f"-{world.name}"
    options.json = options.json or PROJECT_ROOT / "build" / f"chaos{suffix}.json"
    return options


def times_of(options: argparse.Namespace) -> dict[str, int]:
    """How often each kind is done."""
    world = WORLDS[options.world]
    chosen = options.kinds or world.times
    if options.short:
        return {name: SHORT_TIMES[name] for name in SHORT_TIMES if name in chosen}
    return {
        kind.name: min(options.rounds, world.times[kind.name])
        if kind.slow or world.name != ONE
        else options.rounds
        for kind in world.kinds
        if kind.name in chosen
    }


def main(arguments: Sequence[str]) -> ExitCode:
    """Run; 0 only if no oracle found a problem."""
    options = parsed(arguments)
    console = Console(highlight=False, soft_wrap=True)

    def say(text: str) -> None:
        console.print(text, markup=False)

    times = times_of(options)
    whole = not options.kinds and not options.short
    world, short = WORLDS[options.world], options.short
    wanted = world.required_events if whole else SHORT_REQUIRED_EVENTS if not options.kinds else ()
    say(f"CHAOS_SEED={options.seed}")
    rig_of_world = world.rig(
        options.seed,
        series=options.series or (SHORT_SERIES if short else world.series),
        past_seconds=SHORT_PAST_SECONDS if short else world.past_seconds,
        backfill_rate=SHORT_BACKFILL_RATE if short else BACKFILL_RATE,
        keep_data=options.keep_data,
    )
    try:
        with rig_of_world as rig:
            say(f"{sum(times.values())} faults of {len(times)} kinds")
            say(f"Logs are in {rig.stack.log_dir}.")
            suite = Suite(
                rig,
                options.seed,
                say,
                required_events={e: REQUIRED_EVENTS[e] for e in wanted},
                batches_per_proof=SHORT_BATCHES_PER_PROOF if short else 1,
            )
            kinds = [kind for kind in world.kinds if kind.name in times]
            batches = schedule(kinds, times, options.seed)
            if short:
                batches.sort(key=lambda batch: batch[0] not in backfill.KINDS)
            result = suite.run(batches)
    except EtlError as error:
        say(f"chaos: {error}")
        return ExitCode.ERROR
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(as_json(result), indent=2) + "\n", encoding="utf-8")
    console.width = max(console.width, shutil.get_terminal_size((140, 24)).columns)
    console.print(fault_table(result))
    for sentence in figures(result):
        say(sentence)
    for problem in result.problems:
        say(f"PROBLEM  {problem}")
    say(f"{'FAILED' if result.problems else 'PASSED'}; the figures are in {options.json}")
    return ExitCode.ERROR if result.problems else ExitCode.OK


if __name__ == "__main__":
    run_main(main)
