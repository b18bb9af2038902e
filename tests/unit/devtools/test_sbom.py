"""Bills of materials name what a lock installs in an image, and nothing else."""

from __future__ import annotations

import csv
import json
import re
from importlib.metadata import version
from pathlib import Path

import pytest

from devtools import PROJECT_ROOT
from devtools.sbom import __main__ as command
from devtools.sbom.documents import (
    Licence,
    NotInstalledError,
    Package,
    cyclonedx,
    licence_of,
    locked_images,
    read_lock,
)

LOCKS = PROJECT_ROOT / "deploy" / "image" / "locks"
A, B = "a" * 64, "b" * 64


def test_a_lock_is_read_for_the_images_alone() -> None:
    lock = (
        f"Some_Name==1.2 \\\n    --hash=sha256:{A} \\\n    --hash=sha256:{B}\n"
        f"colorama==1 ; sys_platform == 'win32' \\\n    --hash=sha256:{A}\n"
        f"async-timeout==1 ; python_full_version < '3.11.3' \\\n    --hash=sha256:{A}\n"
        f"cffi==2 ; platform_python_implementation != 'PyPy' \\\n    --hash=sha256:{B}\n"
    )
    assert read_lock(lock) == [
        Package("cffi", "2", (B,)),
        Package("some-name", "1.2", (A, B)),
    ]


def test_a_component_says_version_hashes_purl_and_licence() -> None:
    package = Package("redis", version("redis"), (A, B))
    (component,) = cyclonedx("loader", "1.0", [package])["components"]
    purl = f"pkg:pypi/redis@{package.version}"
    assert component == {
        "type": "library",
        "bom-ref": purl,
        "name": "redis",
        "version": package.version,
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": A}, {"alg": "SHA-256", "content": B}],
        "licenses": [{"expression": "MIT"}],
    }


@pytest.mark.parametrize(
    ("name", "licence"),
    [
        ("redis", Licence("MIT", is_expression=True)),
        ("bcrypt", Licence("Apache-2.0", is_expression=False)),  # in words
        ("polars", Licence("MIT License", is_expression=False)),  # the whole text, and a class
        ("promql-parser", Licence("see its LICENSE", is_expression=False)),  # only a file
    ],
)
def test_a_licence_is_found_wherever_the_package_states_it(name: str, licence: Licence) -> None:
    assert licence_of(Package(name, version(name), ())) == licence


@pytest.mark.parametrize("package", [Package("redis", "0.1", ()), Package("no-such", "1", ())])
def test_the_licence_of_another_version_is_not_taken(package: Package) -> None:
    with pytest.raises(NotInstalledError, match=package.name):
        licence_of(package)


def test_every_image_has_a_bill_without_hosts_that_is_the_same_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "FOLDER", tmp_path)
    assert command.main() == 0
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert command.main() == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    images = locked_images(LOCKS)
    assert set(first) == {*(f"{image}.cdx.json" for image in images), "licences.csv"}
    assert not [name for name, text in first.items() if re.search(rb"https?://", text)]
    for image, packages in images.items():
        bill = json.loads(first[f"{image}.cdx.json"])
        assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
        assert [part["name"] for part in bill["components"]] == [one.name for one in packages]
        assert all(part["hashes"] and part["licenses"] for part in bill["components"])
    rows = list(csv.DictReader(first["licences.csv"].decode().splitlines()))
    assert {row["name"] for row in rows} == {one.name for found in images.values() for one in found}
    assert {row["licence"] for row in rows if row["name"] == "redis"} == {"MIT"}
    assert "build" not in capsys.readouterr().err


def test_an_environment_that_is_not_the_locks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "loader.lock").write_text(f"redis==0.1 \\\n    --hash=sha256:{A}\n")
    monkeypatch.setattr(command, "LOCKS", tmp_path)
    monkeypatch.setattr(command, "FOLDER", tmp_path / "out")
    assert command.main() == 1
    assert "redis is installed as" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
