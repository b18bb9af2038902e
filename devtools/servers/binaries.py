"""Where the servers come from: PATH, else distribution packages unpacked into ``.tools/``."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from common.errors import StackError
from devtools import PROJECT_ROOT
from devtools.servers import Progress, no_progress
from devtools.servers.apt import Apt, library_folders, unresolved_libraries

_SYSTEM_FOLDERS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
_STAMP = "stamp.json"
_STAMP_VERSION = 1


def _is_influxd_1(program: Path) -> bool:
    """InfluxDB 2 and 3 ship a program of the same name that takes other flags."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        ran = subprocess.run(
            [str(program), "version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        return "v1." in ran.stdout
    return False


@dataclass(frozen=True, slots=True)
class Source:
    """The programs of one server and the packages that hold them.

    ``suite``: of which suite of Debian, where that is not the machine's own. PATH is not searched
    for them then.
    """

    name: str
    packages: tuple[str, ...]
    programs: tuple[str, ...]
    fits: Callable[[Path], bool] | None = None
    suite: str = ""


# Names of Debian and its derivatives.
SOURCES = (
    Source("redis", ("redis-server", "redis-tools"), ("redis-server",)),
    Source("prometheus", ("prometheus",), ("prometheus", "promtool")),
    Source("influxdb", ("influxdb",), ("influxd",), _is_influxd_1),
    Source("nginx", ("nginx",), ("nginx",)),
)
# Other servers that speak Prometheus' API: `make test-matrix`. sid's package has no promtool, and
# blocks that an older one writes are read by all of them.
SUITES = ("trixie", "sid")
VICTORIA_METRICS = Source(
    "victoria-metrics",
    ("victoria-metrics",),
    ("victoria-metrics", "vmagent", "vmctl"),
    suite="sid",
)


def sources_with_prometheus_of(suite: str) -> tuple[Source, ...]:
    """All servers, with the Prometheus of another suite of Debian; with the usual one for ""."""
    if not suite:
        return SOURCES
    if suite not in SUITES:
        raise StackError(f"no Prometheus of {suite!r} is known, only of {', '.join(SUITES)}")
    other = Source(f"prometheus-{suite}", ("prometheus",), ("prometheus",), suite=suite)
    promtool = Source("prometheus", ("prometheus",), ("promtool",))
    kept = tuple(source for source in SOURCES if source.name != "prometheus")
    return (*kept, promtool, other)


@dataclass(frozen=True, slots=True)
class Program:
    """A program that can be run: its path, and the libraries that came with it."""

    name: str
    path: Path
    library_folders: tuple[Path, ...] = ()

    def environment(self, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
        """``environ`` with the program's own libraries in front."""
        environment = dict(environ)
        if self.library_folders:
            folders = [str(folder) for folder in self.library_folders]
            if known := environ.get("LD_LIBRARY_PATH"):
                folders.append(known)
            environment["LD_LIBRARY_PATH"] = os.pathsep.join(folders)
        return environment


def _advice(sources: Sequence[Source]) -> str:
    """What a person can do when the packages cannot be had."""
    packages = " ".join(package for source in sources for package in source.packages)
    programs = ", ".join(program for source in sources for program in source.programs)
    return (
        f"Install them by hand (on Debian or Ubuntu: apt-get install {packages})"
        f" or put {programs} in PATH."
    )


def _machine() -> str:
    """What an unpacked program depends on: another release has other libraries."""
    release = {}
    with contextlib.suppress(OSError):
        release = platform.freedesktop_os_release()
    return f"{release.get('ID', '?')} {release.get('VERSION_ID', '?')} {platform.machine()}"


class Toolbox:
    """Finds the servers' programs, and unpacks those that are missing.

    ``search_path`` is PATH unless given; the system's own folders are searched after it (``nginx``
    lives in ``/usr/sbin``, which ordinary users lack) unless ``system_folders`` is false.
    Safe to use from many processes at once: one unpacks, the others wait for it.
    """

    def __init__(
        self,
        tools_dir: Path = PROJECT_ROOT / ".tools",
        *,
        search_path: str | None = None,
        system_folders: bool = True,
        progress: Progress = no_progress,
        clock: Callable[[], float] = time.monotonic,
        sources: Sequence[Source] = SOURCES,
        apt: Apt | None = None,
    ) -> None:
        path = os.environ.get("PATH", "") if search_path is None else search_path
        self._tools_dir = tools_dir
        self._search_path = f"{path}:{_SYSTEM_FOLDERS}" if system_folders else path
        self._progress = progress
        self._clock = clock
        self._sources = tuple(sources)
        self._apts = {"": apt or Apt(tools_dir / "apt")}
        for suite in {source.suite for source in sources if source.suite}:
            self._apts[suite] = Apt(tools_dir / f"apt-{suite}", suite=suite)
        self._found: dict[str, Program] = {}

    def program(self, name: str) -> Program:
        """The program of that name, unpacked now if need be.

        Raises :class:`StackError` that says what to install when it can be had neither way.
        """
        if name not in self._found:
            self.prepare([source.name for source in self._sources if name in source.programs])
        return self._found[name]

    def prepare(self, names: Sequence[str] | None = None) -> None:
        """Makes the programs of the named sources (default: of all) available, side by side."""
        wanted = [source for source in self._sources if names is None or source.name in names]
        missing = [source for source in wanted if not self._look_up(source)]
        if not missing:
            return
        try:
            self._tools_dir.mkdir(parents=True, exist_ok=True)
            with self._locked():
                # Another process may have unpacked them while we waited.
                missing = [source for source in missing if not self._look_up(source)]
                if missing:
                    self._unpack_all(missing)
        except OSError as error:
            raise StackError(
                f"cannot unpack {', '.join(source.name for source in missing)} into"
                f" {self._tools_dir}: {error}. {_advice(missing)}"
            ) from error

    def _look_up(self, source: Source) -> bool:
        return self._look_in_path(source) or self._look_in_tools(source)

    def _look_in_path(self, source: Source) -> bool:
        if source.suite:
            return False
        programs = {}
        for name in source.programs:
            path = shutil.which(name, path=self._search_path)
            if path is None or (source.fits is not None and not source.fits(Path(path))):
                return False
            programs[name] = Program(name, Path(path).absolute())
        self._found.update(programs)
        return True

    def _look_in_tools(self, source: Source) -> bool:
        root = self._tools_dir / source.name
        try:
            stamp = json.loads((root / _STAMP).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        if stamp.get("version") != _STAMP_VERSION or stamp.get("machine") != _machine():
            return False
        folders = tuple(root / folder for folder in stamp["library_folders"])
        # Not all that was unpacked: another source may have a program of the same name.
        programs = {
            name: Program(name, root / path, folders)
            for name, path in stamp["programs"].items()
            if name in source.programs
        }
        if not all(name in programs and programs[name].path.is_file() for name in source.programs):
            return False
        self._found.update(programs)
        return True

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One process unpacks; the lock ends with its holder, however that ends."""
        with (self._tools_dir / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                with self._step("waiting for another set-up of the same checkout"):
                    fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def _step(self, name: str) -> Iterator[None]:
        began = self._clock()
        self._progress(name, None)
        yield
        self._progress(name, self._clock() - began)

    def _unpack_all(self, sources: Sequence[Source]) -> None:
        programs = ", ".join(program for source in sources for program in source.programs)
        if lacking := self._apts[""].missing_tools():
            raise StackError(
                f"{programs} not found in PATH, and this machine has no {', '.join(lacking)}"
                f" to unpack packages with. {_advice(sources)}"
            )
        try:
            for suite, apt in self._apts.items():
                packages = [p for one in sources if one.suite == suite for p in one.packages]
                if packages:
                    self._refresh(apt, packages)
            with ThreadPoolExecutor(max_workers=len(sources)) as pool:
                jobs = [pool.submit(self._unpack, source) for source in sources]
            for job in jobs:
                job.result()
        except StackError as error:
            raise StackError(
                f"{programs} not found in PATH, and the packages cannot be had: {error}."
                f" {_advice(sources)}"
            ) from error

    def _refresh(self, apt: Apt, packages: Sequence[str]) -> None:
        if apt.knows(packages):
            return
        with self._step("package lists"):
            problem = apt.update()
        if unknown := [package for package in packages if not apt.knows([package])]:
            because = f" ({problem})" if problem else ""
            raise StackError(f"apt-get knows no package {', '.join(unknown)}{because}")

    def _unpack(self, source: Source) -> None:
        apt = self._apts[source.suite]
        scratch = self._tools_dir / f"{source.name}.new"
        shutil.rmtree(scratch, ignore_errors=True)
        root, debs = scratch / "root", scratch / "debs"
        with self._step(f"{source.name}: download"):
            try:
                files = apt.fetch(source.packages, debs)
            except StackError:
                # The lists name a version that the archive has replaced meanwhile.
                apt.update()
                files = apt.fetch(source.packages, debs)
        with self._step(f"{source.name}: unpack"):
            apt.unpack(files, root)
            problem = self._problem(source, root)
        if problem:
            with self._step(f"{source.name}: libraries"):
                more = apt.absent_dependencies(source.packages)
                if more:
                    apt.unpack(apt.fetch(more, debs), root)
                if problem := self._problem(source, root):
                    raise StackError(f"{source.name}: {problem}")
        self._keep(source, root)
        shutil.rmtree(scratch, ignore_errors=True)
        self._look_in_tools(source)

    @staticmethod
    def _programs(source: Source, root: Path) -> dict[str, Path]:
        """Program name → its path below ``root``, for those that are there."""
        return {
            name: found.relative_to(root)
            for name in source.programs
            for folder in ("usr/sbin", "usr/bin", "sbin", "bin")
            if (found := root / folder / name).is_file()
        }

    def _problem(self, source: Source, root: Path) -> str:
        """Why the programs cannot run as unpacked; empty if they can."""
        programs = self._programs(source, root)
        if absent := [name for name in source.programs if name not in programs]:
            return f"its packages hold no program {', '.join(absent)}"
        folders = library_folders(root)
        missing = {
            library
            for path in programs.values()
            for library in unresolved_libraries(root / path, folders)
        }
        return f"shared libraries not found: {', '.join(sorted(missing))}" if missing else ""

    def _keep(self, source: Source, root: Path) -> None:
        stamp = {
            "version": _STAMP_VERSION,
            "machine": _machine(),
            "programs": {name: str(path) for name, path in self._programs(source, root).items()},
            "library_folders": [str(folder.relative_to(root)) for folder in library_folders(root)],
        }
        (root / _STAMP).write_text(json.dumps(stamp, indent=1), encoding="utf-8")
        final = self._tools_dir / source.name
        shutil.rmtree(final, ignore_errors=True)
        root.rename(final)
