"""Images of one engine for another: links to its layers, and what names them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from devtools.hosts.images import has_images, link_images

DIFFS = ("sha256:" + "a" * 64, "sha256:" + "b" * 64)
# A layer's name is made of all that lies below it.
CHAIN = (DIFFS[0], f"sha256:{hashlib.sha256(' '.join(DIFFS).encode()).hexdigest()}")
ID = "c" * 64


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """What an engine keeps of one image of two layers, and of one that nobody asks for."""
    root = tmp_path / "source"
    state = root / "image" / "overlay2"
    content = {"rootfs": {"type": "layers", "diff_ids": DIFFS}}
    write(state / "imagedb" / "content" / "sha256" / ID, json.dumps(content))
    names = {
        "etl-loader": {"etl-loader:test": f"sha256:{ID}"},
        "other": {"other:1": "sha256:" + "d" * 64},
    }
    write(state / "repositories.json", json.dumps({"Repositories": names}))
    for number, chain in enumerate(CHAIN):
        layer = state / "layerdb" / "sha256" / chain.removeprefix("sha256:")
        write(layer / "cache-id", f"cache{number}")
        write(layer / "tar-split.json.gz", "")
        write(root / "overlay2" / f"cache{number}" / "link", f"SHORT{number}")
        write(root / "overlay2" / f"cache{number}" / "diff" / "file", f"of layer {number}")
    return root


def test_the_other_engine_sees_the_image_and_its_layers(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    link_images(source, target, ["etl-loader:test"])

    state = target / "image" / "overlay2"
    known = json.loads((state / "repositories.json").read_text())
    assert known == {"Repositories": {"etl-loader": {"etl-loader:test": f"sha256:{ID}"}}}
    assert (state / "imagedb" / "content" / "sha256" / ID).is_file()
    for number, chain in enumerate(CHAIN):
        layer = state / "layerdb" / "sha256" / chain.removeprefix("sha256:")
        assert not layer.is_symlink(), "the engine may write there"
        assert (layer / "cache-id").read_text() == f"cache{number}"
        short = target / "overlay2" / "l" / f"SHORT{number}"
        assert (short / "file").read_text() == f"of layer {number}"


def test_images_that_are_not_there_are_known_before(source: Path, tmp_path: Path) -> None:
    assert has_images(source, ["etl-loader:test", "other:1"])
    assert not has_images(source, ["etl-loader:test", "etl-loader:2"])
    assert not has_images(source, ["nobody:1"])
    assert not has_images(tmp_path / "nowhere", ["etl-loader:test"])
    with pytest.raises(KeyError):
        link_images(source, tmp_path / "target", ["nobody:1"])
