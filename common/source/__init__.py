"""How the source is reached, by whoever asks it: the extractor, the verifier and etlctl."""
