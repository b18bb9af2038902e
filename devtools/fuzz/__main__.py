"""``python -m devtools.fuzz``: mutated inputs for every decoder; ends with 1 on a defect.

Whatever fails is saved under build/fuzz and can be tried again with ``--again FILE``.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from devtools import PROJECT_ROOT
from devtools.fuzz.campaign import Campaign
from devtools.fuzz.limits import hangs_raise
from devtools.fuzz.report import Report, saved_case
from devtools.fuzz.run import Failure, attempt
from devtools.fuzz.target import Target
from devtools.fuzz.targets import TARGETS

BUILD = PROJECT_ROOT / "build"
DEFAULT_INPUTS = 1_000_000
_INTERRUPTED = 130
# Between two lines of progress where the last one cannot be overwritten.
_QUIET_SECONDS = 15.0


def main(arguments: Sequence[str] | None = None, targets: Sequence[type[Target]] = TARGETS) -> int:
    """Run; the exit code."""
    options = _parser(targets).parse_args(arguments)
    known = {target.name: target for target in targets}
    if options.again is not None:
        name, case = saved_case(options.again)
        return _try_once(known[name], 0, 0, case)
    if options.index is not None:
        if len(options.target) != 1:
            sys.stderr.write("fuzz: --index needs exactly one --target\n")
            return 2
        return _try_once(known[options.target[0]], options.seed or 0, options.index)
    chosen = [known[name] for name in options.target] or list(targets)
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(4), "big")
    return _campaign(chosen, seed, options.inputs, options.processes, options.build)


def _parser(targets: Sequence[type[Target]]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m devtools.fuzz", description="Fuzz every decoder."
    )
    parser.add_argument("--inputs", type=int, default=DEFAULT_INPUTS, metavar="N", help="in all")
    parser.add_argument("--seed", type=int, metavar="S", help="what all inputs are drawn from")
    names = sorted(target.name for target in targets)
    parser.add_argument("--target", action="append", default=[], choices=names, metavar="NAME")
    parser.add_argument("--index", type=int, metavar="I", help="try input I of one target only")
    parser.add_argument("--again", type=Path, metavar="FILE", help="try a saved input again")
    parser.add_argument("--processes", type=int, default=2, metavar="N")
    parser.add_argument("--build", type=Path, default=BUILD, metavar="DIR", help="for results")
    return parser


def _campaign(
    targets: Sequence[type[Target]], seed: int, inputs: int, processes: int, build: Path
) -> int:
    report = Report(seed, build / "fuzz")
    started = time.monotonic()
    code = 0
    # Stopped from outside or by Ctrl-C: what was found so far is written all the same.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.stderr.write(f"fuzz: {inputs:,} inputs for {len(targets)} targets, seed {seed}\n")
        Campaign(targets, report, processes=processes).run(inputs, _progress(report, inputs))
    except KeyboardInterrupt:
        code = _INTERRUPTED
        sys.stderr.write("fuzz: interrupted\n")
    finally:
        signal.signal(signal.SIGTERM, before)
    summary = report.as_json(time.monotonic() - started)
    build.mkdir(parents=True, exist_ok=True)
    (build / "fuzz.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    for failure in summary["failures"]:
        sys.stdout.write(f"{failure['target']}: {failure['what']} ({failure['inputs']} inputs)\n")
    for file in report.saved:
        sys.stdout.write(f"python -m devtools.fuzz --again {file}\n")
    sys.stdout.write(
        f"fuzz: {report.inputs:,} inputs in {summary['seconds']:.0f} s, {report.failures} failures,"
        f" seed {seed}; figures in {build / 'fuzz.json'}\n"
    )
    return code or (1 if report.failures else 0)


def _progress(report: Report, inputs: int) -> Callable[[], None]:
    """Writes one line again and again on a terminal, else a line now and then."""
    on_terminal = sys.stderr.isatty()
    began = last = time.monotonic()

    def tick() -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < (0.5 if on_terminal else _QUIET_SECONDS):
            return
        last = now
        rate = report.inputs / (now - began)
        line = f"{report.inputs:>11,} of {inputs:,}  {rate:7,.0f}/s  {report.failures} failures"
        sys.stderr.write(f"\r{line}  " if on_terminal else f"{line}\n")
        sys.stderr.flush()

    return tick


def _try_once(target: type[Target], seed: int, index: int, saved: object = None) -> int:
    with hangs_raise():
        found = attempt(target(), seed, index, saved)
    if isinstance(found, Failure):
        sys.stdout.write(
            f"input: {found.input}\n\n{found.traceback}\n{found.target}: {found.error}\n"
        )
        return 1
    sys.stdout.write(f"{target.name}: {'accepted' if found else 'rejected'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
