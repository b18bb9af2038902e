"""What is left of a run: a summary, and an input for each defect in a file of its own."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from devtools.fuzz.run import Failure, Tally


class Report:
    """Collects results; ``folder`` is where failing inputs go."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed = seed
        self.tallies: dict[str, Tally] = {}
        self.saved: list[Path] = []
        self._folder = folder

    def add(self, name: str, tally: Tally) -> None:
        """Take in a finished run of inputs of one target, and save its failures."""
        self.tallies.setdefault(name, Tally()).add(tally)
        for failure in tally.failures.values():
            self._save(failure)

    def _save(self, failure: Failure) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        word = re.sub(r"[^A-Za-z0-9]+", "-", failure.signature).strip("-")[:60]
        file = self._folder / f"{failure.target}-{word}-{failure.seed}.json"
        file.write_text(json.dumps(asdict(failure), indent=2) + "\n", encoding="utf-8")
        self.saved.append(file)

    @property
    def inputs(self) -> int:
        """Inputs tried."""
        return sum(tally.inputs for tally in self.tallies.values())

    @property
    def failures(self) -> list[Failure]:
        """One for each defect."""
        return [one for tally in self.tallies.values() for one in tally.failures.values()]

    def as_json(self, seconds: float) -> dict[str, Any]:
        """The summary."""
        return {
            "seed": self.seed,
            "inputs": self.inputs,
            "seconds": round(seconds, 1),
            "targets": {
                name: {
                    "inputs": tally.inputs,
                    "rejected": tally.rejected,
                    "failures": len(tally.failures),
                    "slowest_cpu_seconds": round(tally.slowest_cpu_seconds, 4),
                }
                for name, tally in sorted(self.tallies.items())
            },
            "failures": [
                {"target": one.target, "what": one.signature, "input": one.input[:500]}
                for one in self.failures
            ],
        }


def saved_case(file: Path) -> tuple[str, Any]:
    """The target's name and the input that a failure was saved with."""
    saved = json.loads(file.read_text(encoding="utf-8"))
    return saved["target"], read_literal(saved["input"])


def read_literal(text: str) -> Any:
    """A ``repr`` of plain data; ``nan`` and ``inf`` among it, which no literal can say."""
    tree = ast.parse(text, mode="eval")
    return ast.literal_eval(_Floats().visit(tree))


class _Floats(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.AST:
        """A name becomes the float of that name."""
        return ast.Constant(float(node.id)) if node.id in ("nan", "inf") else node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        """``-inf``."""
        inner = self.visit(node.operand)
        if isinstance(node.op, ast.USub) and isinstance(inner, ast.Constant):
            assert isinstance(inner.value, int | float)
            return ast.Constant(-inner.value)
        return node
