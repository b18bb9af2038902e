"""Pieces of common/runtime/metrics_table.py, where all metrics are to be found."""
