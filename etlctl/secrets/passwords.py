"""Random passwords."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable

# Means the same in a URL, in YAML, in a shell and in nginx.conf: nothing has to be quoted.
ALPHABET = string.ascii_letters + string.digits
LENGTH = 40  # 238 bits

Choose = Callable[[str], str]
"""Picks one character of the text; :func:`secrets.choice` outside tests."""


def new_password(choose: Choose = secrets.choice) -> str:
    """``LENGTH`` characters of ``ALPHABET``."""
    return "".join(choose(ALPHABET) for _ in range(LENGTH))
