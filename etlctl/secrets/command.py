"""``etlctl secrets``: the passwords, tokens and certificates of the stack."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from common.errors import ConfigError
from etlctl.options import group
from etlctl.output import remark
from etlctl.secrets import fill, rotate
from etlctl.secrets.check import ALL_FILES, TLS_FILES, check_known, expected, problems
from etlctl.secrets.folder import Folder, open_folder

secrets_app = group("Make, check, rotate and show the stack's secrets.")

DEFAULT_DIR = Path("secrets")

Dir = Annotated[
    Path,
    typer.Option(
        "--dir", metavar="DIR", envvar="SECRETS_DIR", help="The directory that holds the secrets."
    ),
]
Tls = Annotated[
    bool,
    typer.Option("--tls", help="Also an authority, and certificates for the servers."),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the secret: its file's name.")]


@secrets_app.command("init")
def init(folder: Dir = DEFAULT_DIR, tls: Tls = False) -> None:
    """Make every secret that is missing; those that exist stay."""
    make_secrets(folder, tls=tls)


@secrets_app.command("rotate")
def rotate_one(name: Name, folder: Dir = DEFAULT_DIR) -> None:
    """Give a secret a new value, and print what is to do then."""
    with open_folder(folder) as opened:
        steps = rotate.rotate(opened, name, _report(opened))
    typer.echo("Then, where the stack runs:")
    for step in steps:
        typer.echo(f"  {step}")


@secrets_app.command("show")
def show(name: Name, folder: Dir = DEFAULT_DIR) -> None:
    """Print a secret on stdout."""
    check_known(name, ALL_FILES)
    with open_folder(folder) as opened:
        if name in TLS_FILES and not opened.has(name):
            made = "make it with `etlctl secrets init --tls`"
            raise ConfigError(f"{opened.where(name)}: is missing: {made}")
        # As bytes: no encoding of the terminal's changes a secret.
        typer.echo(opened.read(name).rstrip(b"\n"))


@secrets_app.command("check")
def check(folder: Dir = DEFAULT_DIR) -> None:
    """Check that every secret is there, private, and up to date.

    Ends with 2 if one is not.
    """
    with open_folder(folder) as opened:
        found = problems(opened)
        files = sum(1 for _ in expected(opened))
    if found:
        raise ConfigError(*found)
    remark(f"{folder}: {files} files, all as they should be")


def make_secrets(path: Path, *, tls: bool) -> None:
    """Fill the directory and print for each file what was done.

    Raises :class:`ConfigError` when others can read a secret: it is no secret any more.
    """
    with open_folder(path, create=True) as folder:
        if folder.tightened:
            typer.echo(f"{path}: closed to others")
        fill.fill(folder, _report(folder), with_tls=tls)
        found = [folder.exposure(name) for name in expected(folder) if folder.has(name)]
    if exposed := [why for why in found if why]:
        raise ConfigError(*exposed)


def _report(folder: Folder) -> fill.Report:
    return lambda name, what: typer.echo(f"{folder.where(name)}: {what}")
