"""Whether an expression can return series of several metrics that only their names tell apart."""

from __future__ import annotations

from collections.abc import Iterator

from promql_parser import AggregateExpr, BinaryExpr, Call, Expr, ParenExpr, VectorSelector

from common.promql.expression import parse_expression
from common.promql.selector import NAME_LABEL, selector_of

_FUNCTIONS = frozenset(
    (
        "first_over_time",
        "info",
        "label_join",
        "label_replace",
        "last_over_time",
        "sort",
        "sort_by_label",
        "sort_by_label_desc",
        "sort_desc",
    )
)
_AGGREGATIONS = frozenset(("bottomk", "limit_ratio", "limitk", "topk"))
_COMPARISONS = frozenset(("!=", "<", "<=", "==", ">", ">="))


def may_return_several_metrics(source: str) -> bool:
    """Whether a selector whose names stay in the result admits more than one name.

    Operators, aggregations and most functions drop the name, and Prometheus refuses what is alike
    then. Raises :class:`ConfigError`.
    """
    expression = parse_expression(source)
    for tree in _named(expression.tree):
        of_name = selector_of(source, expression, tree).on(NAME_LABEL)
        values = [matcher.values for matcher in of_name if matcher.values is not None]
        if not values or len(frozenset.intersection(*values)) > 1:
            return True
    return False


def _named(node: Expr | None) -> Iterator[VectorSelector]:
    """The selectors whose series keep their names on the way to the result."""
    if isinstance(node, VectorSelector):
        yield node
    elif isinstance(node, ParenExpr):
        yield from _named(node.expr)
    elif isinstance(node, AggregateExpr):
        if str(node.op) in _AGGREGATIONS:
            yield from _named(node.expr)
    elif isinstance(node, Call):
        if node.func.name in _FUNCTIONS and node.args:
            first = node.args[0]
            yield from _named(getattr(first, "vector_selector", first))
    elif isinstance(node, BinaryExpr):
        operator = str(node.op)
        keeps = operator in ("and", "unless", "or")
        keeps |= operator in _COMPARISONS and not getattr(node.modifier, "return_bool", False)
        if keeps:
            yield from _named(node.lhs)
        if operator == "or":
            yield from _named(node.rhs)
