"""Files that hold one secret each: read whole, and refused where everybody may read them."""

from __future__ import annotations

import stat
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
    """The content of a secret file without its trailing newline.

    Raises :class:`ValueError`, naming the path but never the content, when it cannot be read, is
    empty or holds something that no password or token can be.
    """
    try:
        text = read_secret_bytes(path).decode()
    except UnicodeDecodeError:
        raise ValueError(f"names {path}, which is not UTF-8 text") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ValueError(f"names {path}, which is empty")
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise ValueError(f"names {path}, which holds line breaks or control characters")
    return text


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
