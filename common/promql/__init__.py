"""Prometheus' language where the pipeline reads it itself: selectors, relabelling."""
