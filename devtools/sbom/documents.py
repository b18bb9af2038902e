"""The packages of an image as CycloneDX, from its lock and from what the packages say."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from io import StringIO
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Where the images run; a lock holds for other systems and versions too.
_IMAGE_ENVIRONMENT = {
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
    "python_full_version": "3.13.0",
    "python_version": "3.13",
    "sys_platform": "linux",
}
_LONGEST_NAME_CHARACTERS = 60


class NotInstalledError(Exception):
    """A package of a lock is not in this environment in that version, so its licence is unknown."""


@dataclass(frozen=True, slots=True)
class Package:
    """``sha256``: of every file of that version that may be installed, one for each platform."""

    name: str
    version: str
    sha256: tuple[str, ...]

    @property
    def purl(self) -> str:
        """The package's URL, which names no index: the official one is meant."""
        return f"pkg:pypi/{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class Licence:
    """What a package says of its licence; ``is_expression``: in the form of SPDX."""

    text: str
    is_expression: bool


def read_lock(text: str) -> list[Package]:
    """The packages of a lock that its image installs, by name."""
    packages = []
    for pin in text.replace("\\\n", " ").splitlines():
        stated, *hashes = pin.split(" --hash=sha256:")
        requirement = Requirement(stated.strip())
        if requirement.marker is None or requirement.marker.evaluate(_IMAGE_ENVIRONMENT):
            (specifier,) = requirement.specifier
            name = canonicalize_name(requirement.name)
            sha256 = tuple(value.strip() for value in hashes)
            packages.append(Package(name, specifier.version, sha256))
    return sorted(packages, key=lambda package: package.name)


def licence_of(package: Package) -> Licence:
    """The licence as the installed package states it. Raises :class:`NotInstalledError`."""
    try:
        found = distribution(package.name)
    except PackageNotFoundError:
        raise NotInstalledError(f"{package.name} {package.version} is not installed") from None
    if found.version != package.version:
        raise NotInstalledError(
            f"{package.name} is installed as {found.version}, the lock has {package.version}"
        )
    stated = found.metadata
    if "License-Expression" in stated:
        return Licence(stated["License-Expression"], is_expression=True)
    # Some put the whole text there.
    free = "".join(stated.get_all("License") or ())
    if free and len(free) <= _LONGEST_NAME_CHARACTERS:
        return Licence(free, is_expression=False)
    classes = [
        value.rpartition(" :: ")[2]
        for value in stated.get_all("Classifier") or ()
        if value.startswith("License :: ")
    ]
    files = [f"see its {name}" for name in stated.get_all("License-File") or ()]
    return Licence("; ".join(classes or files) or "not stated", is_expression=False)


def cyclonedx(image: str, version: str, packages: list[Package]) -> dict[str, Any]:
    """The bill of an image. No time and no serial number: the same lock gives the same bill."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": image, "version": version}},
        "components": [_component(package) for package in packages],
    }


def _component(package: Package) -> dict[str, Any]:
    licence = licence_of(package)
    stated = {"expression": licence.text}
    return {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
        "hashes": [{"alg": "SHA-256", "content": value} for value in package.sha256],
        "licenses": [stated if licence.is_expression else {"license": {"name": licence.text}}],
    }


def licences_csv(images: dict[str, list[Package]]) -> str:
    """One line for each package of any image: name, version, licence, images."""
    used: dict[Package, list[str]] = {}
    for image, packages in images.items():
        for package in packages:
            used.setdefault(package, []).append(image)
    text = StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("name", "version", "licence", "images"))
    for package in sorted(used, key=lambda package: package.name):
        licence = licence_of(package).text
        table.writerow((package.name, package.version, licence, " ".join(used[package])))
    return text.getvalue()


def locked_images(folder: Path) -> dict[str, list[Package]]:
    """The packages of each image that has a lock in ``folder``; development is no image."""
    return {
        path.stem: read_lock(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.lock"))
        if path.stem != "dev"
    }
