"""``etlctl once``: a short range of one query, as the stages would make it, without Redis."""
