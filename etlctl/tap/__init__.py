"""``etlctl tap``: what flows through a stream, without consuming it."""
