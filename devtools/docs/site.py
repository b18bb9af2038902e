"""Builds the documents as a site in build/site: ``python -m devtools.docs.site``.

mkdocs-material lives in an environment of its own below build/, made from site.lock: neither an
image nor the tests need it. Once that is there, nothing is fetched.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from devtools import PROJECT_ROOT

LOCK = PROJECT_ROOT / "devtools" / "docs" / "site.lock"
SOURCE = PROJECT_ROOT / "build" / "site-source"
SITE = PROJECT_ROOT / "build" / "site"
ENVIRONMENT = PROJECT_ROOT / "build" / "site-venv"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")

# Pages beside docs/ that the site has too, by their name there.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s#]*)(#[^)\s]*)?\)")
_EXTERNAL = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\ssrc=[\"']?(?:https?:)?//[^\s\"'>]*"
    r"|<link\b(?![^>]*rel=[\"']?canonical)[^>]*\shref=[\"']?(?:https?:)?//[^\s\"'>]*"
    r"|(?:@import\s+|url\()[\"']?(?:https?:)?//[^\s\"')]*"
)


def page(text: str, folder: str) -> str:
    """A page of ``folder`` (of the project) as the site has it: its links lead to the site's pages.

    The site holds the documents alone, so a link to another file of the project becomes its text.
    """
    return "".join(
        part if part.startswith("```") else _LINK.sub(lambda link: _link(link, folder), part)
        for part in re.split(r"(^```.*?^```)", text, flags=re.DOTALL | re.MULTILINE)
    )


def _link(link: re.Match[str], folder: str) -> str:
    mark, text, target, anchor = link[1], link[2], link[3], link[4] or ""
    if "://" in target or not target:
        return link[0]
    path = os.path.normpath(os.path.join(folder, target))
    if path in PAGES:
        return f"{mark}[{text}]({PAGES[path]}{anchor})"
    if path.startswith("docs/"):
        return f"{mark}[{text}]({path.removeprefix('docs/')}{anchor})"
    return text


def prepare(source: Path = SOURCE) -> None:
    """Lay out what mkdocs reads."""
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(PROJECT_ROOT / "docs", source)
    for path in source.rglob("*.md"):
        path.write_text(page(path.read_text(encoding="utf-8"), "docs"), encoding="utf-8")
    for name, there in PAGES.items():
        text = (PROJECT_ROOT / name).read_text(encoding="utf-8")
        (source / there).write_text(page(text, ""), encoding="utf-8")


def external(site: Path) -> list[str]:
    """What a browser would fetch from elsewhere when it shows a page of the site."""
    return [
        f"{path.relative_to(site)}: {found}"
        for path in sorted(site.rglob("*"))
        if path.suffix in (".html", ".css")
        for found in _EXTERNAL.findall(path.read_text(encoding="utf-8"))
    ]


def _environment() -> Path:
    """The Python that has mkdocs; installs the lock where it has changed."""
    python, stamp = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "lock"
    if not stamp.is_file() or stamp.read_bytes() != LOCK.read_bytes():
        print(f"docs: installing {LOCK.relative_to(PROJECT_ROOT)} into build/", file=sys.stderr)
        venv.create(ENVIRONMENT, clear=True)
        certificates = {"PIP_CERT": str(CERTIFICATES)} if CERTIFICATES.is_file() else {}
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
        checked = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(LOCK)]
        subprocess.run(
            [*pip, "--no-input", "--disable-pip-version-check", *checked],
            env=certificates | os.environ,
            check=True,
        )
        stamp.write_bytes(LOCK.read_bytes())
    return python


def build() -> int:
    """Build the site; the exit code."""
    python = _environment()
    prepare()
    # Its makers advertise on stderr unless asked not to.
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "true"}
    built = subprocess.run(
        [python, "-m", "mkdocs", "build", "--strict", "--clean"],
        cwd=PROJECT_ROOT,
        env=environment,
        check=False,
    )
    if built.returncode:
        return built.returncode
    found = external(SITE)
    for line in found:
        print(f"docs: fetched from elsewhere: {line}", file=sys.stderr)
    if not found:
        print(f"docs: {SITE.relative_to(PROJECT_ROOT)}/index.html")
    return 1 if found else 0


if __name__ == "__main__":
    try:
        sys.exit(build())
    except subprocess.CalledProcessError:
        sys.exit("docs: mkdocs could not be installed; pip's messages are above")
