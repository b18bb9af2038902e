"""Files that hold one secret each: read whole, and refused where everybody may read them."""

from __future__ import annotations

import codecs
import stat
from collections.abc import Iterator
from pathlib import Path

MAX_SECRET_BYTES = 64 * 1024
# What is shown in place of a secret.
MASK = "********"


def check_secret_mode(path: str | Path) -> None:
    """Refuse a secret file that every user of the machine may read or change.

    Its owner and its group may: secrets are handed to containers that way. A symbolic link is
    judged by what it leads to. Raises :class:`ValueError`, naming the path, also when the file
    cannot be read.
    """
    try:
        mode = stat.S_IMODE(Path(path).stat().st_mode)
    except (OSError, ValueError) as error:
        raise ValueError(f"names {path}, which cannot be read: {_why(error)}") from None
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        verb = "read" if mode & stat.S_IROTH else "change"
        raise ValueError(
            f"names {path}, which every user can {verb} (mode {mode:04o}): make it 0600"
        )


def read_secret(path: str | Path) -> str:
    """The secret in a file, as :func:`secret_text` takes it out of the content.

    Raises :class:`ValueError`, naming the path but never the content, when it cannot be read or
    holds no secret.
    """
    content = read_secret_bytes(path)
    try:
        return secret_text(content)
    except ValueError as error:
        raise ValueError(f"names {path}, which {error}") from None


def current_secret(file: str | None, known_from_start: str) -> str:
    """What a secret file holds now; without one, or where it cannot be read, what was known."""
    if file is None:
        return known_from_start
    try:
        return read_secret(file)
    except ValueError:
        # Half-way through being replaced, perhaps: the one we began with may still do.
        return known_from_start


def secret_text(content: bytes) -> str:
    """The secret in the content of a file: without a byte order mark, and line breaks at the end.

    Every reader of secret files goes by this. Raises :class:`ValueError` with the end of a sentence
    (``is empty``) for what no password or token can be, and for one in quotes: nobody can tell
    whether they belong to it.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None
    text = text.rstrip("\r\n")
    if not text:
        raise ValueError("is empty")
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise ValueError("holds line breaks or control characters")
    if text[0] == text[-1] and text[0] in "\"'":
        raise ValueError("begins and ends with quotes: write the secret without them")
    return text


def unlike_elsewhere(content: bytes) -> Iterator[str]:
    """What :func:`secret_text` takes otherwise than other programs do, each the end of a sentence.

    Redis and InfluxDB are given the file by a shell, which leaves out line feeds at its end and
    nothing else; Prometheus and Grafana leave out blanks too.
    """
    if content.startswith(codecs.BOM_UTF8):
        yield "begins with a byte order mark, which is stripped here and kept by others"
    if content.rstrip(b"\n").endswith(b"\r"):
        yield "ends with a carriage return (CRLF), which is stripped here and kept by others"
    text = content.removeprefix(codecs.BOM_UTF8).rstrip(b"\r\n")
    if text.strip() != text:
        yield "begins or ends with blanks, which are kept here and stripped by others"


def read_secret_bytes(path: str | Path) -> bytes:
    """The content of a file that a setting names, as it is; at most 64 KiB.

    Raises :class:`ValueError`, naming the path but never the content.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ValueError(f"names {path}, which cannot be read: {_why(error)}") from None
    if len(content) > MAX_SECRET_BYTES:
        raise ValueError(f"names {path}, which is larger than {MAX_SECRET_BYTES} bytes")
    return content


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
