"""Write build/sbom: a bill of materials (CycloneDX) for each image, and licences.csv for all."""

from __future__ import annotations

import json
import sys

from common.version import project_version
from devtools import PROJECT_ROOT
from devtools.sbom.documents import NotInstalledError, cyclonedx, licences_csv, locked_images

LOCKS = PROJECT_ROOT / "deploy" / "image" / "locks"
FOLDER = PROJECT_ROOT / "build" / "sbom"


def main() -> int:
    """Write the files; 1 if the environment is not what the locks say."""
    version = project_version()
    images = locked_images(LOCKS)
    try:
        files = {
            f"{image}.cdx.json": json.dumps(cyclonedx(image, version, packages), indent=2) + "\n"
            for image, packages in images.items()
        }
        files["licences.csv"] = licences_csv(images)
    except NotInstalledError as error:
        print(f"sbom: {error}: run `make setup`", file=sys.stderr)
        return 1
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    print(f"sbom: {', '.join(files)} in {FOLDER}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
