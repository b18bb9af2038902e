"""Cleans, relabels and encodes samples as line protocol."""
