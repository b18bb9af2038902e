"""A compose file over the others that names every pulled image by its digest."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from etlctl.stack.docker import Docker

_HUB = ("docker.io/library/", "docker.io/")


class Pins(NamedTuple):
    """``images``: service → image with digest; ``left_out``: a sentence for each other service."""

    images: dict[str, str]
    left_out: list[str]

    def override(self) -> str:
        """The compose file; JSON is YAML too."""
        services = {name: {"image": image} for name, image in self.images.items()}
        return json.dumps({"services": services}, indent=2) + "\n"


def find_pins(docker: Docker, config: Mapping[str, Any]) -> Pins:
    """Read the digests from the engine; none is made up. Raises :class:`EngineError`.

    ``config`` is what ``docker compose config --format json`` prints.
    """
    pins = Pins({}, [])
    for name, service in sorted(config["services"].items()):
        image = service.get("image", "")
        if "build" in service:
            pins.left_out.append(f"{name}: its image is built here")
        elif "@" in image:
            pins.images[name] = image
        else:
            ran = docker.capture("image", "inspect", "--format", "{{json .RepoDigests}}", image)
            if ran.code != 0:
                pins.left_out.append(f"{name}: {image}: {ran.message}")
                continue
            digest = next(_digests(image, json.loads(ran.out) or []), None)
            if digest is None:
                pins.left_out.append(f"{name}: {image} has no digest: it was not pulled from there")
            else:
                pins.images[name] = f"{image}@{digest}"
    return pins


def _digests(image: str, found: list[str]) -> Iterator[str]:
    """Those of the image's own repository: another one may not hold them."""
    folder, slash, last = image.rpartition("/")
    wanted = _familiar(folder + slash + last.partition(":")[0])
    for one in found:
        repository, _, digest = one.partition("@")
        if _familiar(repository) == wanted:
            yield digest


def _familiar(repository: str) -> str:
    for prefix in _HUB:
        repository = repository.removeprefix(prefix)
    return repository
