"""PromQL expressions as the library ``promql-parser`` reads them, and what is needed of its tree.

The library reads texts between quotes in its own way: it knows no byte escapes, resolves escapes
between backticks, and compiles regexes by rules that are not RE2's. It is therefore given a number
in place of each text, and the texts are read here as Prometheus reads them (Go's ``Unquote``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import promql_parser
from promql_parser import AtModifierType, Expr, Function, ValueType, VectorSelector

from common.errors import ConfigError

# How far Prometheus looks back for the latest sample of a series (its default).
LOOKBACK_MS = 300_000

# The library's parser calls itself for each of these, and a stack that overflows ends the process.
MAX_NESTING = 2_000

_LEXEME = re.compile(
    r"""(?P<comment>\#[^\n]*)
    |(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)
    |(?P<open>["'`])
    |(?P<negated>!~)
    |(?P<nesting>[-+*/%^<>(]|==|!=|\b(?:and|or|unless|atan2)\b)""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_ESCAPE = re.compile(
    rb"\\(?:([abfnrtv\\\"'])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.?))",
    re.DOTALL,
)
_SIMPLE_ESCAPES = {
    bytes([char]): bytes([meant])
    for char, meant in zip(b"abfnrtv\\\"'", b"\a\b\f\n\r\t\v\\\"'", strict=True)
}
# A character for private use on both sides: outside of quotes, PromQL refuses it.
_NUMBERED = re.compile(r"\ue000([0-9]+)\ue000\|?")

# Prometheus 2's name of double_exponential_smoothing.
promql_parser.register_extra_functions(
    [
        Function(
            "holt_winters", [ValueType.Matrix, ValueType.Scalar, ValueType.Scalar], ValueType.Vector
        )
    ]
)


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression: the library's tree, and the texts whose numbers it holds."""

    tree: Expr
    texts: tuple[str, ...]

    def text(self, numbered: str) -> str:
        """What the source has where the tree has ``numbered``."""
        return _NUMBERED.sub(lambda match: self.texts[int(match[1])], numbered)

    def nodes(self) -> Iterator[Expr]:
        """Each node."""
        waiting: list[Expr] = [self.tree]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(children(node))

    def selectors(self) -> Iterator[VectorSelector]:
        """Each vector selector, those within ranges too."""
        return (node for node in self.nodes() if isinstance(node, VectorSelector))


def parse_expression(source: str) -> Expression:
    """Parse any PromQL expression; raises :class:`ConfigError` with the reason in one sentence."""
    texts: list[str] = []
    nesting = 0
    negated = False

    def numbered(match: re.Match[str]) -> str:
        nonlocal nesting, negated
        if match["open"]:
            raise _error(source, "has a text whose quote is not closed", match.start())
        if not match["text"]:
            nesting += bool(match["nesting"])
            negated = bool(match["negated"]) or (negated and bool(match["comment"]))
            return match[0]
        # The library refuses a selector whose matchers all admit the empty value. Only an empty
        # text does after `!=`, and after `!~` it depends on the regex: it gets one that passes.
        text, empty_too, negated = _unquoted(source, match), "|" if negated else "", False
        if not text and not empty_too:
            return '""'
        texts.append(text)
        return f'"\ue000{len(texts) - 1}\ue000{empty_too}"'

    try:
        source.encode()
        prepared = _LEXEME.sub(numbered, source)
    except UnicodeEncodeError:
        raise ConfigError(f"{source!r:.80} is not UTF-8 text") from None
    if nesting > MAX_NESTING:
        raise ConfigError(f"{source!r:.80} has more than {MAX_NESTING} operators and parentheses")
    try:
        tree = promql_parser.parse(prepared)
    except ValueError as error:
        reason = str(error)
    except BaseException as error:  # a panic of the library is no Exception
        if type(error).__name__ != "PanicException":
            raise
        reason = str(error)
    else:
        return Expression(tree, tuple(texts))
    reason = _NUMBERED.sub(lambda match: texts[int(match[1])], reason)
    raise ConfigError(f"{source!r:.80} is not PromQL: {' '.join(reason.split()):.200}")


def ahead_ms(source: str) -> int:
    """How far after its evaluation time an expression looks, in ms, by negative offsets.

    Where a subquery holds a selector, their offsets add up. Raises :class:`ConfigError`.
    """
    farthest_ms = 0
    waiting: list[tuple[Expr, int]] = [(parse_expression(source).tree, 0)]
    while waiting:
        node, ahead = waiting.pop()
        ahead -= duration_ms(node, "offset")
        if isinstance(node, VectorSelector):
            farthest_ms = max(farthest_ms, ahead)
        waiting.extend((child, ahead) for child in children(node))
    return farthest_ms


def depends_on_window(source: str) -> bool:
    """Whether ``@ start()`` or ``@ end()`` makes a value depend on which window it is read in.

    Raises :class:`ConfigError`.
    """
    return any(
        at is not None and at.type != AtModifierType.At
        for at in (getattr(node, "at", None) for node in parse_expression(source).nodes())
    )


def children(node: Expr) -> Iterator[Expr]:
    """The nodes right below."""
    parts = [getattr(node, name, None) for name in ("expr", "param", "lhs", "rhs")]
    parts += [getattr(node, "vector_selector", None), *getattr(node, "args", ())]
    return (part for part in parts if isinstance(part, Expr))


def duration_ms(node: Expr, attribute: str) -> int:
    """The duration in an attribute of a node; 0 where it has none."""
    duration = getattr(node, attribute, None)
    return 0 if duration is None else round(duration.total_seconds() * 1000)


def _unquoted(source: str, match: re.Match[str]) -> str:
    quoted = match["text"]
    if quoted[0] == "`":
        return quoted[1:-1]

    # Go's \x and octal escapes are bytes, so the text is only whole as UTF-8 in the end.
    def replace(escape: re.Match[bytes]) -> bytes:
        simple, byte, short, long, octal, unknown = escape.groups()
        try:
            if unknown is not None:
                raise ValueError
            if simple is not None:
                return _SIMPLE_ESCAPES[simple]
            if byte or octal:
                return bytes([int(byte, 16) if byte else int(octal, 8)])
            return chr(int(short or long, 16)).encode()
        except (ValueError, OverflowError):
            shown = escape[0].decode(errors="replace")
            raise _error(source, f"has an unknown escape {shown}", match.start()) from None

    try:
        return _ESCAPE.sub(replace, quoted[1:-1].encode()).decode()
    except UnicodeDecodeError:
        raise _error(source, "has a text that is not UTF-8", match.start()) from None


def _error(source: str, what: str, position: int) -> ConfigError:
    return ConfigError(f"{source!r:.80} {what} (column {position + 1})")
