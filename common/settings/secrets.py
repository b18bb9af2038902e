"""Secrets that may be given as a file: ``token`` or ``token_file``, never both.

A service reads only the secrets of the sections it uses, so that a container needs no more secrets
than its work does: the validation context's ``"secrets"`` names those sections (all without one).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationInfo

from common.settings.fields import Problem, invalid, problems_error

MAX_SECRET_BYTES = 64 * 1024
NO_SECRET = SecretStr("")

Validator = Callable[[Any, ValidationInfo], Any]


def from_file(section: str) -> Validator:
    """A validator for the secret ``x`` of a section: it reads ``x_file`` when that is given.

    ``x_file`` must be declared before ``x``, and defaults must be validated.
    """

    def resolve(value: Any, info: ValidationInfo) -> Any:
        file_key = f"{info.field_name}_file"
        file = info.data.get(file_key)
        if file is None:
            if isinstance(value, str):
                _check_text(value)
            elif not isinstance(value, SecretStr):
                raise invalid("must be text: put it in quotes")
            return value
        if value is not NO_SECRET:
            raise invalid(f"and {file_key} are both given: keep one of them")
        if not _is_read(section, info):
            return value
        try:
            return read_secret(file)
        except ValueError as error:
            # The key that the reader has to change is the file's.
            problem = problems_error([Problem(("..", file_key), str(error))])
            raise problem or error from None

    return resolve


def readable(section: str) -> Validator:
    """A validator of paths to files that a section's service will open later (CA, certificate)."""

    def check(path: Any, info: ValidationInfo) -> Any:
        if path is not None and _is_read(section, info):
            try:
                _read(path)
            except ValueError as error:
                raise invalid(str(error)) from None
        return path

    return check


def read_secret(path: str) -> str:
    """The content of a secret file without its trailing newline.

    Raises :class:`ValueError`, naming the path but never the content, when it cannot be read, is
    empty or holds something that no password or token can be.
    """
    try:
        text = _read(path).decode()
    except UnicodeDecodeError:
        raise ValueError(f"names {path}, which is not UTF-8 text") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ValueError(f"names {path}, which is empty")
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise ValueError(f"names {path}, which holds line breaks or control characters")
    return text


def _check_text(text: str) -> None:
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise invalid("must not hold line breaks or control characters")


def _is_read(section: str, info: ValidationInfo) -> bool:
    wanted = (info.context or {}).get("secrets")
    return wanted is None or section in wanted


def _read(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"names {path}, which cannot be read: {why}") from None
    if len(content) > MAX_SECRET_BYTES:
        raise ValueError(f"names {path}, which is larger than {MAX_SECRET_BYTES} bytes")
    return content
