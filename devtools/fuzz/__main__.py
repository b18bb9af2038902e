"""``python -m devtools.fuzz``: mutated inputs for every decoder; ends with 1 on a defect.

A failing input is made as small as it gets and saved under build/fuzz; ``--again FILE`` tries it
again. ``--seed`` repeats a whole run.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from devtools import PROJECT_ROOT
from devtools.fuzz.report import Report, saved_case
from devtools.fuzz.run import attempt, failure_of
from devtools.fuzz.target import Target
from devtools.fuzz.targets import TARGETS
from devtools.fuzz.workers import STUCK_SECONDS, Job, run_jobs

BUILD = PROJECT_ROOT / "build"
DEFAULT_INPUTS = 1_000_000
_INTERRUPTED = 130


def main(
    arguments: Sequence[str] | None = None,
    targets: Sequence[type[Target]] = TARGETS,
    stuck_seconds: float = STUCK_SECONDS,
) -> int:
    """Run; the exit code."""
    options = _parser(targets).parse_args(arguments)
    known = {target.name: target for target in targets}
    if options.again is not None:
        name, case = saved_case(options.again)
        return _try_again(known[name], case)
    chosen = [known[name] for name in options.target] or list(targets)
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(4), "big")
    given = shares(options.inputs, chosen)
    jobs = [Job(target, seed, given[target.name], stuck_seconds) for target in chosen]
    jobs.sort(key=lambda job: -job.inputs)  # so that no process is left with a large one
    return _run(jobs, seed, options.processes, options.build)


def _parser(targets: Sequence[type[Target]]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m devtools.fuzz", description="Fuzz every decoder."
    )
    parser.add_argument("--inputs", type=int, default=DEFAULT_INPUTS, metavar="N", help="in all")
    parser.add_argument("--seed", type=int, metavar="S", help="what all inputs are drawn from")
    names = sorted(target.name for target in targets)
    parser.add_argument("--target", action="append", default=[], choices=names, metavar="NAME")
    parser.add_argument("--again", type=Path, metavar="FILE", help="try a saved input again")
    parser.add_argument("--processes", type=int, default=2, metavar="N")
    parser.add_argument("--build", type=Path, default=BUILD, metavar="DIR", help="for results")
    return parser


def shares(inputs: int, targets: Sequence[type[Target]]) -> dict[str, int]:
    """How many of ``inputs`` each target gets: by weight, at least one, all of them in the end."""
    weights = sum(target.weight for target in targets)
    given = {target.name: max(1, inputs * target.weight // weights) for target in targets}
    given[targets[0].name] += max(0, inputs - sum(given.values()))
    return given


def _run(jobs: list[Job], seed: int, processes: int, build: Path) -> int:
    report = Report(seed, build / "fuzz")
    inputs = sum(job.inputs for job in jobs)
    started = time.monotonic()
    code = 0
    # Stopped from outside or by Ctrl-C: what was found so far is written all the same.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.stderr.write(f"fuzz: {inputs:,} inputs for {len(jobs)} targets, seed {seed}\n")
        for job, tally in run_jobs(jobs, processes):
            report.add(job.target.name, tally)
            sys.stderr.write(
                f"{report.inputs:>11,} of {inputs:,}  {job.target.name}: {tally.inputs:,} inputs, "
                f"{tally.rejected:,} refused, {len(tally.failures)} failures\n"
            )
    except KeyboardInterrupt:
        code = _INTERRUPTED
        sys.stderr.write("fuzz: interrupted\n")
    finally:
        signal.signal(signal.SIGTERM, before)
    summary = report.as_json(time.monotonic() - started)
    build.mkdir(parents=True, exist_ok=True)
    (build / "fuzz.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    for failure in report.failures:
        sys.stdout.write(f"{failure.target}: {failure.signature}: {failure.error}\n")
    for file in report.saved:
        sys.stdout.write(f"python -m devtools.fuzz --again {file}\n")
    sys.stdout.write(
        f"fuzz: {report.inputs:,} inputs in {summary['seconds']:.0f} s, "
        f"{len(report.failures)} failures, seed {seed}; figures in {build / 'fuzz.json'}\n"
    )
    return code or (1 if report.failures else 0)


def _try_again(target: type[Target], saved: Any) -> int:
    case, accepted, error = attempt(target(), b"", saved)
    if error is None:
        sys.stdout.write(f"{target.name}: {'accepted' if accepted else 'rejected'}\n")
        return 0
    failure = failure_of(target.name, 0, case, error)
    sys.stdout.write(f"input: {failure.input}\n\n{failure.traceback}\n{target.name}: ")
    sys.stdout.write(f"{failure.error}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
