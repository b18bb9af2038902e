"""Reads windows of samples from Prometheus and commits them to the raw stream."""
