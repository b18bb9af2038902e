"""``etlctl doctor``: what a pipeline needs, looked at from the configuration to the sink."""
