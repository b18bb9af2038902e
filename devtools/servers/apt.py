"""Programs out of the distribution's packages, without root and without installing.

``apt-get download`` fetches and verifies a package, ``dpkg-deb -x`` unpacks it; no maintainer
script runs and the package database is only read. Where the machine has no package lists (a bare
container), or they are out of date, a private copy is fetched into the cache. Shared libraries that
the machine lacks are taken from the package's dependencies and unpacked beside the program.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.errors import StackError

_UPDATE_SECONDS = 120
_DOWNLOAD_SECONDS = 300
_SHORT_SECONDS = 60
_DEBIAN_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_LIBRARY_FOLDERS = ("usr/lib", "lib")


def _complaint(output: str) -> str:
    """What apt-get complained about, in one line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    complaints = [line for line in lines if line.startswith(("E:", "W:", "Err:", "dpkg-deb:"))]
    return " ".join((complaints or lines)[-3:]) or "no output"


class Apt:
    """apt-get with its state in ``cache_dir``; one instance may be used by several threads.

    ``suite`` names another suite of Debian than the machine's own, at the archive that the machine
    takes its packages from. Only its lists are read then.
    """

    def __init__(
        self,
        cache_dir: Path,
        environ: Mapping[str, str] = os.environ,
        system_path: str = "/usr/sbin:/usr/bin:/sbin:/bin",
        suite: str = "",
    ) -> None:
        self._cache_dir = cache_dir.absolute()
        self._suite = suite
        self._environment = {
            **environ,
            "PATH": f"{environ.get('PATH', '')}:{system_path}",
            "LC_ALL": "C",
            "DEBIAN_FRONTEND": "noninteractive",
        }
        self._private_lists = bool(suite) or (cache_dir / "lists").is_dir()
        self._updating = threading.Lock()
        self._update_problem: str | None = None

    def missing_tools(self) -> list[str]:
        """Which of the needed tools this machine lacks; empty on anything derived from Debian."""
        return [
            tool
            for tool in ("apt-get", "apt-cache", "dpkg-deb", "dpkg-query", "ldd")
            if shutil.which(tool, path=self._environment["PATH"]) is None
        ]

    def _options(self) -> list[str]:
        values = {
            "Dir::Cache": str(self._cache_dir / "cache"),
            # Official container images switch this cache off; with it each further call is 3x
            # faster.
            "Dir::Cache::pkgcache": "pkgcache.bin",
            "Acquire::Languages": "none",
            "Acquire::Retries": "2",
            "Acquire::http::Timeout": "20",
            "Acquire::https::Timeout": "20",
            # As root, apt-get would fetch as user _apt, who may not write into a checkout.
            "APT::Sandbox::User": "root",
        }
        if self._private_lists:
            values["Dir::State::lists"] = str(self._cache_dir / "lists")
        if self._suite:
            values |= {
                "Dir::Etc::sourcelist": str(self._cache_dir / "sources.list"),
                "Dir::Etc::sourceparts": "-",
                "Dir::Etc::preferences": "/dev/null",
                "Dir::Etc::preferencesparts": "-",
                "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
            }
        options: list[str] = ["-q"]
        for key, value in values.items():
            options += ["-o", f"{key}={value}"]
        return options

    def _run(
        self, command: Sequence[str], timeout_seconds: float, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        for folder in ("cache/archives/partial", "lists/partial" if self._private_lists else ""):
            (self._cache_dir / folder).mkdir(parents=True, exist_ok=True)
        try:
            return subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=self._environment,
                cwd=cwd,
                timeout=timeout_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise StackError(
                f"{' '.join(command[:1])} did not finish within {timeout_seconds:g} s"
            ) from None

    def knows(self, packages: Sequence[str]) -> bool:
        """Whether the package lists at hand name a version of each package to download."""
        uris = self._run(
            ["apt-get", *self._options(), "download", "--print-uris", *packages], _SHORT_SECONDS
        )
        return uris.returncode == 0 and uris.stdout.count(".deb ") >= len(packages)

    def update(self) -> str:
        """Fetches package lists into the cache; returns what went wrong, if anything did.

        Not an error by itself: one unreachable source of several is none of our business. What
        counts is whether the packages are known afterwards.
        """
        with self._updating:
            if self._update_problem is None:  # once is enough, whoever asks
                if self._suite:
                    self._write_sources()
                self._private_lists = True
                done = self._run(["apt-get", *self._options(), "update"], _UPDATE_SECONDS)
                failed = done.returncode or "Err:" in done.stdout
                self._update_problem = _complaint(done.stdout) if failed else ""
            return self._update_problem

    def _write_sources(self) -> None:
        """The suite at the archives that the machine's own release comes from."""
        try:
            release = platform.freedesktop_os_release()
        except OSError:
            release = {}
        if release.get("ID") != "debian":
            raise StackError(
                f"{self._suite} is a suite of Debian, and this machine is"
                f" {release.get('PRETTY_NAME', 'another system')}"
            )
        listed = self._run(
            ["apt-get", "indextargets", "--format", "$(CREATED_BY) $(REPO_URI) $(RELEASE)"],
            _SHORT_SECONDS,
        )
        codename = release.get("VERSION_CODENAME", "")
        archives = {
            archive
            for kind, archive, suite in map(str.split, listed.stdout.splitlines())
            if (kind, suite) == ("Packages", codename)
        }
        if not archives:
            raise StackError(f"apt-get names no archive of {codename}")
        signed = f"[signed-by={_DEBIAN_KEYS}] " if _DEBIAN_KEYS.is_file() else ""
        lines = [f"deb {signed}{archive} {self._suite} main\n" for archive in sorted(archives)]
        (self._cache_dir / "sources.list").write_text("".join(lines), encoding="utf-8")

    def fetch(self, packages: Sequence[str], folder: Path) -> list[Path]:
        """Downloads the packages into ``folder`` and returns the files."""
        folder.mkdir(parents=True, exist_ok=True)
        before = set(folder.glob("*.deb"))
        done = self._run(
            ["apt-get", *self._options(), "download", *packages], _DOWNLOAD_SECONDS, cwd=folder
        )
        files = sorted(set(folder.glob("*.deb")) - before)
        if done.returncode or len(files) < len(set(packages)):
            raise StackError(
                f"apt-get cannot download {' '.join(packages)}: {_complaint(done.stdout)}"
            )
        return files

    def unpack(self, files: Sequence[Path], root: Path) -> None:
        """Unpacks package files into ``root``; runs nothing of what is in them."""
        root.mkdir(parents=True, exist_ok=True)
        for file in files:
            done = self._run(["dpkg-deb", "-x", str(file), str(root)], _DOWNLOAD_SECONDS)
            if done.returncode:
                raise StackError(f"cannot unpack {file.name}: {_complaint(done.stdout)}")

    def absent_dependencies(self, packages: Sequence[str]) -> list[str]:
        """What the packages need, directly or not, and is not installed.

        Only what is built for this architecture: packages for all of them (fonts, web pages,
        scripts) hold no library.
        """
        tree = self._run(
            [
                "apt-cache", *self._options(), "depends", "--recurse", "--no-recommends",
                "--no-suggests", "--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances",
                *packages,
            ],
            _SHORT_SECONDS,
        )  # fmt: skip
        names = {line for line in tree.stdout.splitlines() if re.match(r"[a-z0-9]", line)}
        listed = self._run(
            ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\n"], _SHORT_SECONDS
        )
        installed = {
            line.split()[1] for line in listed.stdout.splitlines() if line.startswith("installed ")
        }
        # A package of another architecture is listed as name:arch; it is of no use here.
        absent = sorted(name for name in names - installed - set(packages) if ":" not in name)
        if not absent:
            return []
        uris = self._run(
            ["apt-get", *self._options(), "download", "--print-uris", *absent], _SHORT_SECONDS
        )
        found = re.findall(r"^'\S+' (\S+?)_\S+_(\w+)\.deb ", uris.stdout, flags=re.MULTILINE)
        return [name for name, architecture in found if architecture != "all"]


def library_folders(root: Path) -> list[Path]:
    """Folders below ``root`` that hold shared libraries."""
    folders = {
        library.parent
        for top in _LIBRARY_FOLDERS
        for library in (root / top).rglob("*.so*")
        # Plug-ins live in folders of their own; the loader looks only into these.
        if library.parent.parent == root / top or library.parent == root / top
    }
    return sorted(folders)


def unresolved_libraries(program: Path, folders: Sequence[Path]) -> list[str]:
    """Shared libraries of ``program`` that the loader does not find, ``folders`` searched first."""
    environment = {**os.environ, "LC_ALL": "C"}
    if folders:
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(map(str, folders))
    done = subprocess.run(
        ["ldd", str(program)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment,
        timeout=_SHORT_SECONDS,
        check=False,
    )
    missing = re.findall(r"^\s*(\S+) => not found", done.stdout, flags=re.MULTILINE)
    # e.g. built against a newer C library than this machine has
    missing += re.findall(r"version `(\S+)' not found", done.stdout + done.stderr)
    return missing
