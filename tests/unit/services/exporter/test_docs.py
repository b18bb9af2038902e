"""docs/etl-metrics.md documents every setting and every reason, and none that does not exist."""

from __future__ import annotations

import re

from devtools import PROJECT_ROOT
from services.exporter.follower import PROBLEMS
from services.exporter.lines import REASONS
from services.exporter.settings import OPTIONS

PAGE = (PROJECT_ROOT / "docs" / "etl-metrics.md").read_text(encoding="utf-8")


def rows(pattern: str) -> list[tuple[str, str]]:
    return re.findall(rf"^\| `({pattern})` \| (?:`(.*?)`|–|[a-z]).*\|$", PAGE, re.MULTILINE)


def test_every_setting_with_its_default() -> None:
    documented = dict(rows(r"ETL_METRICS_\w+"))
    assert documented == {
        OPTIONS.variable(option.name): option.default or "" for option in OPTIONS.options
    }


def test_every_reason_and_no_other() -> None:
    assert [name for name, _ in rows("[a-z][a-z0-9_]+")] == [*REASONS, *PROBLEMS]
