"""A monitored test application that gives Prometheus something real to scrape."""
