"""The settings as they are in force: defaults filled in, secrets masked."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, SecretStr

from common.config.model import Settings
from common.secret_files import MASK


def effective(settings: Settings, mask: bool = True) -> dict[str, Any]:
    """Every key and its value as plain data; secrets that are set are ``********`` if masked."""
    plain = _plain(settings, mask)
    assert isinstance(plain, dict)
    return plain


def _plain(value: Any, mask: bool) -> Any:
    if isinstance(value, BaseModel):
        return {name: _plain(getattr(value, name), mask) for name in type(value).model_fields}
    if isinstance(value, SecretStr):
        secret = value.get_secret_value()
        return MASK if mask and secret else secret
    if isinstance(value, dict):
        return {key: _plain(item, mask) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, mask) for item in value]
    return value
