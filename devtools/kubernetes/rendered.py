"""deploy/kubernetes/etl.yaml: the chart as it renders with its defaults, for who has no Helm."""

from __future__ import annotations

import re

from devtools import PROJECT_ROOT
from devtools.kubernetes.tools import template

MANIFESTS = PROJECT_ROOT / "deploy" / "kubernetes" / "etl.yaml"
_HEAD = """\
# The Helm chart deploy/helm with its default values: docs/kubernetes.md.
# Rendered by `make manifests`; edit the chart instead.
"""


def render() -> str:
    """The text of the file.

    Dashboards are left out: kubectl makes ConfigMaps of files that are committed already.
    """
    text = template("--set", "grafana.dashboards.enabled=false")
    # So that nothing looks as if Helm owned it.
    text = re.sub(
        r"^ +(helm\.sh/chart|app\.kubernetes\.io/managed-by): .*\n", "", text, flags=re.MULTILINE
    )
    return _HEAD + re.sub(r"^# Source: .*\n", "", text, flags=re.MULTILINE)
