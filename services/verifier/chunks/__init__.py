"""Long ranges of raw samples by remote read, decoded by the verifier itself."""
