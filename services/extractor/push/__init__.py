"""Samples that Prometheus pushes (remote write), taken seconds after their scrape."""
