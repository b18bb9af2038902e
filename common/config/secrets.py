"""Secrets that may be given as a file: ``token`` or ``token_file``, never both.

A service reads only the secrets of the sections it uses, so that a container needs no more secrets
than its work does: the validation context's ``"secrets"`` names those sections (all without one),
or of a section only the files of TLS (``"load.tls"``).
Its ``"folder"`` is the configuration's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, SecretStr, ValidationInfo

from common.config.fields import Problem, invalid, problems_error
from common.config.text import REPLACEMENT
from common.secret_files import MASK, check_secret_mode, read_secret, read_secret_bytes

__all__ = ["NO_SECRET", "SecretFile", "from_file", "read_secret", "readable"]

NO_SECRET = SecretStr("")
# What PEM files of every kind of private key begin with, after their kind.
_KEY = b"PRIVATE KEY-----"

Validator = Callable[[Any, ValidationInfo], Any]


def beside_configuration(path: str | None, info: ValidationInfo) -> str | None:
    """A relative path, in the file or in a variable, is relative to the configuration's folder."""
    folder = (info.context or {}).get("folder")
    return os.path.join(folder, path) if path and folder is not None else path


# A key that names the file of a secret.
SecretFile = Annotated[str | None, AfterValidator(beside_configuration)]


def not_for_headers(secret: str) -> str | None:
    """Why HTTP cannot carry a token in a header; None if it can."""
    # What was no text at all is patched by now, and has been told.
    if all(" " <= char <= "~" or char == REPLACEMENT for char in secret):
        return None
    return "has characters that no HTTP header can carry"


def from_file(
    section: str,
    made_by: str | None = None,
    why_not: Callable[[str], str | None] = lambda secret: None,
) -> Validator:
    """A validator for the secret ``x`` of a section: it reads ``x_file`` when that is given.

    ``x_file`` must be declared before ``x``, and defaults must be validated. A file that every user
    of the machine may read or change is refused. One that is not there, but is ``made_by`` a
    command, is put down in the context's ``"pending"`` if there is such a list. ``why_not`` says
    what is wrong with a secret, as the end of a sentence.
    """

    def resolve(value: Any, info: ValidationInfo) -> Any:
        file_key = f"{info.field_name}_file"
        file = info.data.get(file_key)
        if file is None:
            if isinstance(value, str):
                _check_text(value, file_key)
                if why := why_not(value):
                    raise invalid(why)
            elif not isinstance(value, SecretStr):
                raise invalid("must be text: put it in quotes")
            return value
        if value is not NO_SECRET:
            raise invalid(f"and {file_key} are both given: keep one of them")
        if not is_read(section, info):
            return value
        try:
            if made_by is not None and _is_missing(file):
                pending = (info.context or {}).get("pending")
                text = f"names {file}, which is not there: `{made_by}` makes it"
                if pending is None:
                    raise ValueError(text)
                pending.append(f"{file_key} {text}")
                return value
            check_secret_mode(file)
            secret = read_secret(file)
            if why := why_not(secret):
                raise ValueError(f"names {file}, which {why}")
            return secret
        except ValueError as error:
            # The key that the reader has to change is the file's.
            problem = problems_error([Problem(("..", file_key), str(error))])
            raise problem or error from None

    return resolve


def readable(section: str) -> Validator:
    """A validator of paths to files that a section's service opens later: CA, certificate, key.

    One that holds a private key is refused if every user of the machine may read or change it.
    """

    def check(path: Any, info: ValidationInfo) -> Any:
        path = beside_configuration(path, info)
        if path is not None and is_read(f"{section}.tls", info):
            try:
                if _KEY in read_secret_bytes(path):
                    check_secret_mode(path)
            except ValueError as error:
                raise invalid(str(error)) from None
        return path

    return check


def _check_text(text: str, file_key: str) -> None:
    if text == MASK:
        raise invalid(f"is masked: give the secret itself, or {file_key}")
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise invalid("must not hold line breaks or control characters")


def _is_missing(path: str) -> bool:
    # A link that leads nowhere is not made good by making the file.
    return "\0" not in path and not os.path.lexists(path)


def is_read(section: str, info: ValidationInfo) -> bool:
    """Whether the secrets of a section, or of a part of one, are wanted."""
    wanted = (info.context or {}).get("secrets")
    return wanted is None or section in wanted or section.partition(".")[0] in wanted
