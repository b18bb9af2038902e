"""How the containers are, as a table."""

from __future__ import annotations

from collections.abc import Iterable

from rich.markup import escape
from rich.table import Table

from etlctl.output import table as new_table
from etlctl.stack.project import Container, Project


def report(project: Project, containers: Iterable[Container]) -> tuple[Table, bool]:
    """A row for each service, and whether all of them are as they should be."""
    table = new_table("Containers", "service", *("running", "healthy"))
    table.add_column("not well", overflow="fold")
    mine: dict[str, list[Container]] = {name: [] for name in project.services}
    for one in containers:
        mine.setdefault(one.service, []).append(one)
    all_well = True
    for service, those in sorted(mine.items()):
        ill = [f"{one.name}: {one.in_words()}" for one in those if not project.is_well(one)]
        if not those:
            ill.append("no container")
        running = sum(one.running for one in those)
        healthy = sum(one.running and one.health == "healthy" for one in those)
        ended = not running and not ill
        table.add_row(
            service,
            "done" if ended else str(running),
            str(healthy or "–"),
            escape("\n".join(ill)),
        )
        all_well = all_well and not ill
    return table, all_well
