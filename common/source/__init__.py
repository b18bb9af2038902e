"""How a source is asked: the extractor, the verifier and etlctl use the same."""
