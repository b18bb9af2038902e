"""YAML as people would write it: keys in their order, texts of several lines as blocks."""

from __future__ import annotations

import re
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        # Lists are indented below their key, as Prometheus' own examples have them.
        super().increase_indent(flow, False)


# What some readers of YAML 1.1 take for a number of minutes.
_CLOCK = re.compile(r"[0-9]+(:[0-9]+)+")


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else "'" if _CLOCK.fullmatch(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)

GENERATED = "Rendered by `python -m monitoring render`; edit monitoring/*.py instead."


def dump(document: Any, about: str) -> str:
    """``document`` with a comment before it that says what it is and where it comes from."""
    head = "".join(f"# {line}\n" for line in (*about.splitlines(), GENERATED))
    body: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return f"{head}\n{body}"
