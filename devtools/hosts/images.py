"""Images that one Docker engine of this machine has, for another one without copying them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

DRIVER = "overlay2"


def link_images(source: Path, target: Path, names: Iterable[str]) -> None:
    """Give the engine with data in ``target`` some images of the one with data in ``source``.

    Both keep them by the driver overlay2, and ``target``'s engine has not started yet. An engine
    never writes to a layer again, so the layers themselves are links: gigabytes take no time. They
    work as long as ``source`` has them.
    """
    found = _repositories(source)
    repositories: dict[str, dict[str, str]] = {}
    for name in names:
        repository = name.rsplit(":", 1)[0]
        repositories.setdefault(repository, {})[name] = found[repository][name]
    state = target / "image" / DRIVER
    for id_ in {id_ for tags in repositories.values() for id_ in tags.values()}:
        _link_image(source, target, id_.removeprefix("sha256:"))
    (state / "repositories.json").write_text(json.dumps({"Repositories": repositories}))


def has_images(data_dir: Path, names: Iterable[str]) -> bool:
    """Whether :func:`link_images` can take all of them from there."""
    try:
        found = _repositories(data_dir)
    except OSError:
        return False
    return all(name in found.get(name.rsplit(":", 1)[0], {}) for name in names)


def _repositories(data_dir: Path) -> dict[str, dict[str, str]]:
    text = (data_dir / "image" / DRIVER / "repositories.json").read_text(encoding="utf-8")
    found: dict[str, dict[str, str]] = json.loads(text)["Repositories"]
    return found


def _link_image(source: Path, target: Path, id_: str) -> None:
    for part in ("content", "metadata"):
        below = Path("image", DRIVER, "imagedb", part, "sha256", id_)
        if (source / below).exists():
            _copy(source / below, target / below)
    content = source / "image" / DRIVER / "imagedb" / "content" / "sha256" / id_
    for layer in _layers(json.loads(content.read_text(encoding="utf-8"))):
        below = Path("image", DRIVER, "layerdb", "sha256", layer)
        _copy(source / below, target / below)
        name = (source / below / "cache-id").read_text(encoding="utf-8").strip()
        files, short = source / DRIVER / name, (source / DRIVER / name / "link").read_text()
        _link(target / DRIVER / name, files)
        _link(target / DRIVER / "l" / short, Path("..", name, "diff"))


def _layers(image: dict[str, Any]) -> Iterator[str]:
    """The names that an engine gives the layers, each by all that lies below it."""
    chain = ""
    for diff in image["rootfs"]["diff_ids"]:
        chain = (
            f"sha256:{hashlib.sha256(f'{chain} {diff}'.encode()).hexdigest()}" if chain else diff
        )
        yield chain.removeprefix("sha256:")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy(source, target)


def _link(path: Path, to: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_symlink():
        path.symlink_to(to)
