"""The labels that Prometheus adds to what it sends, as its configuration shows them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import yaml

# As Prometheus writes its configuration: a key of the document's ``global``, and what is in it.
_EXTERNAL = re.compile(r"^  external_labels:\n((?:    .*\n)+)", re.MULTILINE)


def external_labels_of(config: bytes) -> Mapping[str, str]:
    """From the body of ``/api/v1/status/config``; none where it is not as Prometheus has it."""
    try:
        found = _EXTERNAL.search(json.loads(config)["data"]["yaml"])
        labels = yaml.safe_load(found[1]) if found else {}
    except (ValueError, KeyError, TypeError, RecursionError, yaml.YAMLError):
        return {}
    if not isinstance(labels, dict):
        return {}
    return {str(name): str(value) for name, value in labels.items()}
