"""The promises of pyproject.toml, the locks and the Makefile, held to what the code imports."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from devtools import PROJECT_ROOT

ROOT = PROJECT_ROOT
SERVICES = ("extractor", "transformer", "loader", "verifier", "simulator", "exporter")
IMAGES = (*SERVICES, "etlctl")
LOCKS = (*IMAGES, "dev")
INSTALLED = ("common", "etlctl", "services")
FIRST_PARTY = (*INSTALLED, "deploy", "devtools", "monitoring")

PIN = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[0-9a-z.+!]+)( ; (?P<marker>[^;\\]+))? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}(?P<more> \\)?")


def test_every_image_and_development_has_a_lock() -> None:
    assert {path.stem for path in (ROOT / "deploy" / "image" / "locks").glob("*.lock")} == set(
        LOCKS
    )


@pytest.mark.parametrize(
    "lock",
    [
        *(f"deploy/image/locks/{name}.lock" for name in LOCKS),
        "devtools/scripts/uv.requirements",
        "devtools/kubernetes/helm.lock",
        "devtools/kubernetes/validate.lock",
        "devtools/docs/site.lock",
    ],
)
def test_lock_holds_nothing_but_pins_and_their_hashes(lock: str) -> None:
    """No index, host, folder or option: whoever installs brings those."""
    lines = (ROOT / lock).read_text().splitlines()
    expected: re.Pattern[str] = PIN
    for number, line in enumerate(lines, start=1):
        found = expected.fullmatch(line)
        assert found, f"{lock}:{number}: {line!r} is not {expected.pattern}"
        more = expected is PIN or found["more"]
        expected = HASH if more else PIN
    assert expected is PIN, f"{lock} ends in the middle of a pin"


def test_the_locks_are_made_by_a_tool_that_is_pinned() -> None:
    """Every package that the script installs is one whose hash is known."""
    script = (ROOT / "devtools/scripts/lock").read_text().replace("\\\n", " ")
    installs = [line for line in script.splitlines() if "pip install" in line]
    assert installs
    assert all("--require-hashes" in line and '"$pin"' in line for line in installs), installs


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_meets_the_ranges_of_pyproject(lock: str) -> None:
    for name, specifiers in sorted(_declared(lock).items()):
        version = _pins(lock).get(name)
        assert version is not None, f"{lock}.lock lacks {name}: run `make lock`"
        for requirement in specifiers:
            assert requirement.specifier.contains(version), (
                f"{lock}.lock has {name} {version}, pyproject.toml requires {requirement}"
            )


@pytest.mark.parametrize("image", IMAGES)
def test_image_runs_the_versions_that_were_tested(image: str) -> None:
    assert _pins(image).items() <= _pins("dev").items()


@pytest.mark.parametrize(
    ("image", "heavy"),
    [
        ("simulator", {"numpy", "polars", "polars-runtime-32", "redis", "rq"}),
        ("exporter", {"numpy", "polars", "polars-runtime-32"}),
        ("loader", {"polars", "polars-runtime-32"}),
        ("verifier", {"polars", "polars-runtime-32", "rq"}),
    ],
)
def test_light_image_installs_no_heavy_package(image: str, heavy: set[str]) -> None:
    assert not heavy & _pins(image).keys()


@pytest.mark.parametrize(
    ("image", "heavy"),
    [
        ("simulator", {"numpy", "polars", "redis", "rq", "requests", "influxdb_client"}),
        ("exporter", {"numpy", "polars", "requests", "influxdb_client"}),
        ("loader", {"numpy", "polars", "requests", "influxdb_client"}),
    ],
)
def test_light_service_imports_no_heavy_package(image: str, heavy: set[str]) -> None:
    program = (
        "import importlib, sys\n"
        f"for module in {_modules_of(image)!r}:\n"
        "    importlib.import_module(module)\n"
        f"print(*({heavy!r} & sys.modules.keys()))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == []


@pytest.mark.parametrize("lock", LOCKS)
def test_extra_declares_every_package_that_its_code_imports(lock: str) -> None:
    """Also what comes along with another package today has to be declared by who imports it."""
    distributions = packages_distributions()
    declared = _declared(lock)
    for module in _reachable(_modules_of(lock)):
        for package in sorted(_third_party(module)):
            names = {canonicalize_name(name) for name in distributions.get(package, [])}
            assert names, f"{module} imports {package}, which no installed package provides"
            assert names & declared.keys(), (
                f"{module} imports {package}: add {' or '.join(sorted(names))} to the extra {lock}"
            )


def test_wheel_holds_every_file_of_the_packages(tmp_path: Path) -> None:
    """Scripts and templates beside the code are packaged too; tests are not."""
    source = tmp_path / "source"
    leftovers = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for package in INSTALLED:
        shutil.copytree(ROOT / package, source / package, ignore=leftovers)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    expected = {
        path.relative_to(source).as_posix()
        for package in INSTALLED
        for path in (source / package).rglob("*")
        if path.is_file()
    }
    program = "import sys, setuptools.build_meta as b; b.build_wheel(sys.argv[1])"
    built = subprocess.run(
        [sys.executable, "-c", program, tmp_path],
        cwd=source,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == expected


def test_make_help_is_the_default_and_documents_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([A-Za-z][\w-]*):(?!=)", makefile, flags=re.MULTILINE)
    shown = subprocess.run(
        ["make"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    ).stdout
    documented = re.findall(r"^  ([a-z-]+) +\S", shown, flags=re.MULTILINE)
    assert targets
    assert documented == targets
    assert re.findall(r"^\.PHONY: (.+)$", makefile, flags=re.MULTILINE) == targets


def test_setup_without_a_usable_python_says_so_in_one_message(tmp_path: Path) -> None:
    for part in ("devtools/scripts", "deploy/image/locks"):
        shutil.copytree(ROOT / part, tmp_path / part)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    ran = subprocess.run(
        [tmp_path / "devtools" / "scripts" / "setup"],
        env={"PATH": "/usr/bin:/bin", "PYTHON": "/bin/false"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ran.returncode == 1
    assert ran.stderr == "setup: PYTHON=/bin/false is not a Python 3.11 or later.\n"
    assert not (tmp_path / ".venv").exists()


def test_readme_opens_with_the_two_commands_and_ci_runs_them() -> None:
    readme = (ROOT / "README.md").read_text()
    block = re.search(r"^```\w*\n(.*?)^```", readme, flags=re.MULTILINE | re.DOTALL)
    assert block
    commands = [line.split("#")[0].strip() for line in block[1].splitlines()]
    assert commands == ["make demo", "make test"]
    ci = (ROOT / ".ci" / "run").read_text()
    assert re.findall(r"^step (.+)$", ci, flags=re.MULTILINE) == [
        "devtools/scripts/engine start",
        "make setup",
        "make test",
        "end_of_what_ran_beside",
        "make pipelines-test",
        "make bench-quick",
    ]
    beside = re.findall(r"^ +step (.+)$", ci, flags=re.MULTILINE)
    assert beside[0] == "make --jobs 2 --output-sync check manifests-check site"
    assert [one.split(" PYTEST_ARGS")[0] for one in beside[1:]] == [
        'make test-matrix MATRIX="sid victoria-metrics"'
    ]


def test_the_contributors_guide_names_files_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    folders = "common|deploy|devtools|docs|etlctl|monitoring|services|tests"
    named = set(re.findall(rf"(?:{folders})/[\w./-]*", text))
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


# --- what pyproject.toml and the locks say ---------------------------------------------------


@cache
def _pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@cache
def _pins(lock: str) -> dict[str, Version]:
    """Canonical name → version of every pin in the lock."""
    text = (ROOT / "deploy" / "image" / "locks" / f"{lock}.lock").read_text()
    return {
        canonicalize_name(found["name"]): Version(found["version"]) for found in PIN.finditer(text)
    }


@cache
def _declared(extra: str) -> dict[str, list[Requirement]]:
    """Canonical name → requirements that the project and this extra state themselves."""
    project = _pyproject()["project"]
    declared: dict[str, list[Requirement]] = {}
    seen: set[str] = set()

    def add(requirements: list[str]) -> None:
        for requirement in map(Requirement, requirements):
            if requirement.name == project["name"]:
                for name in requirement.extras - seen:
                    seen.add(name)
                    add(project["optional-dependencies"][name])
            else:
                declared.setdefault(canonicalize_name(requirement.name), []).append(requirement)

    add(project["dependencies"])
    add(project["optional-dependencies"][extra])
    return declared


# --- what the code imports -------------------------------------------------------------------


def _modules_of(lock: str) -> list[str]:
    """The modules that belong to an image; development has all of them."""
    if lock == "dev":
        packages = (*FIRST_PARTY, "tests")
        return [module for package in packages for module in _all_modules(package)]
    if lock == "etlctl":
        return _all_modules("etlctl")
    return _all_modules(f"services.{lock}")


def _all_modules(package: str) -> list[str]:
    folder = ROOT.joinpath(*package.split("."))
    paths = sorted(folder.rglob("*.py"))
    parts = (path.relative_to(ROOT).with_suffix("").parts for path in paths)
    return [".".join(part[:-1] if part[-1] == "__init__" else part) for part in parts]


def _path(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.exists():
            return path
    return None


def _reachable(roots: list[str]) -> list[str]:
    """The roots and every module of the project that importing or running them can load."""
    found: set[str] = set()
    todo = list(roots)
    while todo:
        module = todo.pop()
        if module not in found:
            found.add(module)
            todo += _first_party(module)
    return sorted(found)


def _first_party(module: str) -> set[str]:
    """Modules of the project that this one imports, with the packages they lie in."""
    found: set[str] = set()
    for imported in _imports(module):
        parts = imported.split(".")
        if parts[0] in (*FIRST_PARTY, "tests"):
            found |= {".".join(parts[:end]) for end in range(1, len(parts) + 1)}
    # `from common import relabel` names a module, `from common.errors import X` does not.
    return {name for name in found if _path(name)}


def _third_party(module: str) -> set[str]:
    """Top-level packages of others that this module imports."""
    names = {imported.split(".")[0] for imported in _imports(module)}
    return names - sys.stdlib_module_names - {*FIRST_PARTY, "tests"}


@cache
def _imports(module: str) -> frozenset[str]:
    path = _path(module)
    assert path is not None, module
    found: set[str] = set()
    for node in _running(ast.parse(path.read_text(), filename=str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module and node.level == 0, f"{module} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """Every node but those that only type checkers read."""
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        children: list[ast.AST] = list(node.orelse)
    else:
        yield node
        children = list(ast.iter_child_nodes(node))
    for child in children:
        yield from _running(child)
