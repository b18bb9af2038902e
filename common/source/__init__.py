"""How a source is asked, and what its responses mean: the extractor and etlctl use the same."""
