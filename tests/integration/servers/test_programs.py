"""Programs are found in PATH or unpacked from packages."""

from __future__ import annotations

import json
import platform
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from common.errors import StackError
from devtools import PROJECT_ROOT
from devtools.servers.apt import Apt, library_folders, unresolved_libraries
from devtools.servers.binaries import SOURCES, Source, Toolbox, sources_with_prometheus_of
from devtools.servers.redis_server import RedisServer
from tests.integration.servers.helpers import hidden

_OS_RELEASE = Path("/etc/os-release")
RELEASE = _OS_RELEASE.read_text(encoding="utf-8") if _OS_RELEASE.is_file() else ""

# Some 20 kB with a library of its own that hardly any machine has installed.
TINY = Source("tinycdb", ("tinycdb",), ("cdb",))


class TestPrograms:
    def test_are_unpacked_once_for_many_callers_and_bring_their_libraries(
        self, tmp_path: Path
    ) -> None:
        steps: list[str] = []

        def report(step: str, seconds: float | None) -> None:
            if seconds is not None:
                steps.append(step)

        def find(_: int) -> Path:
            return hidden(tmp_path, [TINY], progress=report).program("cdb").path

        with ThreadPoolExecutor(4) as pool:
            paths = set(pool.map(find, range(4)))
        assert steps.count("tinycdb: download") == 1
        assert steps.count("tinycdb: unpack") == 1
        (path,) = paths
        program = hidden(tmp_path, [TINY]).program("cdb")
        assert program.path == path
        assert path.is_relative_to(tmp_path / "tinycdb")
        made = subprocess.run(
            [path, "-c", tmp_path / "db"],
            input=b"+1,1:a->b\n\n",
            env=program.environment(),
            capture_output=True,
            timeout=20,
            check=False,
        )
        assert made.returncode == 0, made.stderr
        # Either the machine has the library, or it was unpacked beside the program.
        assert not unresolved_libraries(path, program.library_folders)
        assert program.library_folders == tuple(library_folders(tmp_path / "tinycdb"))
        assert not (tmp_path / "tinycdb.new").exists()

    def test_private_package_lists_serve_where_the_machine_has_none(self, tmp_path: Path) -> None:
        apt = Apt(tmp_path / "apt")
        (tmp_path / "apt" / "lists").mkdir(parents=True)
        empty = Apt(tmp_path / "apt")
        assert not empty.knows(["tinycdb"])
        assert apt.update() == ""
        assert apt.knows(["tinycdb"])
        (file,) = apt.fetch(["tinycdb"], tmp_path / "debs")
        assert file.stat().st_size > 0

    def test_a_real_redis_runs_from_its_package(self, tmp_path: Path) -> None:
        toolbox = hidden(tmp_path / "tools")
        with RedisServer(toolbox, tmp_path / "redis") as server, server.client() as client:
            executable = Path(psutil.Process(server.pid).exe())
            assert executable.is_relative_to(tmp_path / "tools")
            assert client.ping()

    def test_packages_that_do_not_exist_are_one_clear_error(self, tmp_path: Path) -> None:
        source = Source("nothing", ("no-such-package-at-all",), ("nothing-server",))
        with pytest.raises(StackError) as caught:
            hidden(tmp_path, [source]).prepare()
        message = str(caught.value)
        assert "nothing-server not found in PATH" in message
        assert "apt-get knows no package no-such-package-at-all" in message
        assert "apt-get install no-such-package-at-all" in message
        assert "\n" not in message

    def test_a_machine_without_apt_is_one_clear_error(self, tmp_path: Path) -> None:
        apt = Apt(tmp_path / "apt", {"PATH": str(tmp_path)}, system_path="")
        with pytest.raises(StackError, match=r"no apt-get.*apt-get install tinycdb"):
            hidden(tmp_path, [TINY], apt=apt).prepare()

    def test_a_folder_that_cannot_be_written_is_one_clear_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(StackError, match=r"cannot unpack tinycdb into .*Not a directory"):
            hidden(tmp_path / "file" / "tools", [TINY]).prepare()

    def test_a_program_in_path_that_does_not_fit_is_passed_over(self, tmp_path: Path) -> None:
        other = tmp_path / "influxd"
        other.write_text("#!/bin/sh\necho 'InfluxDB v2.7.1 (git: x)'\n", encoding="utf-8")
        other.chmod(0o755)
        toolbox = Toolbox(PROJECT_ROOT / ".tools", search_path=str(tmp_path))
        assert toolbox.program("influxd").path != other

    def test_stale_unpacked_programs_of_another_machine_are_not_used(self, tmp_path: Path) -> None:
        first = hidden(tmp_path, [TINY]).program("cdb")
        stamp = tmp_path / "tinycdb" / "stamp.json"
        stamp.write_text(
            stamp.read_text(encoding="utf-8").replace('"machine": "', '"machine": "other '),
            encoding="utf-8",
        )
        steps: list[str] = []
        again = hidden(tmp_path, [TINY], progress=lambda step, _: steps.append(step))
        assert again.program("cdb").path == first.path
        assert "tinycdb: unpack" in steps

    def test_a_program_of_the_same_name_from_another_source_is_not_taken(
        self, tmp_path: Path
    ) -> None:
        hidden(tmp_path, [TINY]).prepare()
        for name in ("cdb", "other"):
            copy = tmp_path / "second" / name
            copy.parent.mkdir(exist_ok=True)
            copy.touch()
        stamp = json.loads((tmp_path / "tinycdb" / "stamp.json").read_text(encoding="utf-8"))
        stamp |= {"programs": {"cdb": "cdb", "other": "other"}, "library_folders": []}
        (tmp_path / "second" / "stamp.json").write_text(json.dumps(stamp), encoding="utf-8")
        toolbox = hidden(tmp_path, [TINY, Source("second", ("second",), ("other",))])
        toolbox.prepare()
        assert toolbox.program("other").path == tmp_path / "second" / "other"
        assert toolbox.program("cdb").path.is_relative_to(tmp_path / "tinycdb")


class TestSuites:
    @pytest.mark.skipif("ID=debian" not in RELEASE.split(), reason="only Debian has its suites")
    def test_another_suite_is_read_from_the_archive_of_the_machine(self, tmp_path: Path) -> None:
        apt = Apt(tmp_path / "apt", suite="sid")
        assert not apt.knows(["prometheus"])
        assert apt.update() == ""
        assert apt.knows(["prometheus", "victoria-metrics"])
        lines = (tmp_path / "apt" / "sources.list").read_text(encoding="utf-8").splitlines()
        assert lines
        assert all(line.startswith("deb ") and line.endswith(" sid main") for line in lines)

    def test_another_system_has_no_suite_of_debian(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            platform,
            "freedesktop_os_release",
            lambda: {"ID": "ubuntu", "PRETTY_NAME": "Ubuntu 24.04"},
        )
        source = Source("tiny-sid", ("tinycdb",), ("cdb",), suite="sid")
        with pytest.raises(StackError) as caught:
            hidden(tmp_path, [source]).prepare()
        assert "sid is a suite of Debian, and this machine is Ubuntu 24.04" in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_path_is_not_searched_for_another_suite(self, tmp_path: Path) -> None:
        (tmp_path / "prometheus").write_text("#!/bin/sh\n", encoding="utf-8")
        (tmp_path / "prometheus").chmod(0o755)
        apt = Apt(tmp_path / "apt", {"PATH": ""}, system_path="")
        toolbox = Toolbox(
            tmp_path / "tools",
            search_path=str(tmp_path),
            system_folders=False,
            sources=sources_with_prometheus_of("sid"),
            apt=apt,
        )
        with pytest.raises(StackError, match="prometheus not found in PATH"):
            toolbox.program("prometheus")

    def test_a_suite_that_is_not_known_is_named(self) -> None:
        assert sources_with_prometheus_of("") == SOURCES
        with pytest.raises(StackError, match=r"no Prometheus of 'woody'.*trixie, sid"):
            sources_with_prometheus_of("woody")
