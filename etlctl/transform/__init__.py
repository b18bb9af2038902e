"""``etlctl transform``: what the rules do to samples, tried before they are in force."""
