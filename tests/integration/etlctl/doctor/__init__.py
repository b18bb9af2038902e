"""``etlctl doctor`` on real servers."""
