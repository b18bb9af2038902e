"""From when on a source still has all that a query looks at.

Where Prometheus has deleted a part of what an expression looked at, the expression may give other
values than it gave: what is compared there says nothing about the sink.
"""

from __future__ import annotations

from common.promql.reach import Reach


def whole_from_ms(reach: Reach, lowest_ms: int, origin_ms: int, slack_ms: int) -> int:
    """After when the values that a query has now are those that it had; 0 = always.

    ``lowest_ms`` is the oldest time that the source keeps, 0 where that is not known;
    ``origin_ms`` the beginning of what was extracted. The source may begin ``slack_ms`` after that
    although it has deleted nothing.
    """
    return reach.whole_from_ms(lowest_ms) if lowest_ms > origin_ms + slack_ms else 0
