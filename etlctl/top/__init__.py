"""``etlctl top``: the pipeline live, with what a few figures were like lately."""
