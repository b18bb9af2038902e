"""The commands that make hosts, and whether they work here."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess

from common.errors import StackError

_COMMAND_SECONDS = 30
_NEEDED = ("ip", "iptables", "nsenter")


def run(*command: str) -> str:
    """The output of a command; :class:`StackError` with what it said if it fails."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False
    )
    if done.returncode:
        raise StackError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def succeeds(*command: str) -> bool:
    """Whether a command ends well; for what may be gone already."""
    try:
        run(*command)
    except StackError:
        return False
    return True


@functools.cache
def missing() -> str | None:
    """Why no hosts can be made here, in a few words; None where they can."""
    if os.geteuid() != 0:
        return "only root can make network namespaces"
    for program in _NEEDED:
        if shutil.which(program) is None:
            return f"there is no {program} command"
    probe = f"etl-probe-{os.getpid()}"
    try:
        run("ip", "netns", "add", probe)
        # No traffic is lost where the kernel lacks the match.
        run("nsenter", f"--net=/run/netns/{probe}", "iptables", "-A", "INPUT", *half_of_packets())
    except StackError as error:
        return f"network namespaces do not work here: {error}"
    finally:
        succeeds("ip", "netns", "del", probe)
    return None


def half_of_packets() -> tuple[str, ...]:
    """Arguments of iptables that drop every other packet, at random."""
    return ("-m", "statistic", "--mode", "random", "--probability", "0.5", "-j", "DROP")
