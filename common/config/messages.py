"""pydantic's complaints as sentences about the key, without ever quoting a secret."""

from __future__ import annotations

from pydantic_core import ErrorDetails

_WHOLE = {
    "missing": "is missing",
    "model_type": "must be a mapping of keys",
    "model_attributes_type": "must be a mapping of keys",
    "dict_type": "must be a mapping of keys",
    "string_type": "must be text: put it in quotes",
    "tuple_type": 'must be a list (in an environment variable: JSON such as ["a", "b"])',
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "finite_number": "must be a finite number",
}
_SECRET_WORDS = ("password", "token", "url", "secret")
_SHOWN_CHARS = 60


def sentence(details: ErrorDetails, suggestion: str | None) -> str:
    """What is wrong, as a sentence that follows the key's path."""
    kind = details["type"]
    if kind == "extra_forbidden":
        return "is an unknown key" + (f": did you mean {suggestion}?" if suggestion else "")
    if kind == "invalid":
        return details["msg"]
    text = _WHOLE.get(kind) or details["msg"].replace("Input should", "must").replace(
        "String should", "must"
    )
    if kind == "missing":
        return text
    key = str(details["loc"][-1]) if details["loc"] else ""
    value = details["input"]
    if any(word in key for word in _SECRET_WORDS) or not isinstance(value, str | int | float):
        return text
    shown = repr(value)
    if len(shown) > _SHOWN_CHARS:
        shown = f"{shown[:_SHOWN_CHARS]}…"
    return f"{text}, not {shown}"
