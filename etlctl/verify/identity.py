"""The configured transform at series level, as the comparison needs it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from common.config import Query
from common.errors import WireError
from common.samples.series import SeriesDrop, SeriesEncoder
from etlctl.verify.expect import Identify
from etlctl.verify.points import SeriesKey

UNREADABLE = "unreadable_labels"


def identify_of(query: Query, encoder: SeriesEncoder) -> Identify:
    """Identities of the series that ``query`` reads: relabelled, filtered, mapped."""

    def identify(labels: Mapping[str, str]) -> SeriesKey | str:
        try:
            identity = encoder.identity(query.kind, query.name, json.dumps(labels).encode())
        except WireError:
            return UNREADABLE
        if isinstance(identity, SeriesDrop):
            return identity.value
        return SeriesKey.of(identity.measurement, identity.tags)

    return identify
