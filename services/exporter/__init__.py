"""etl-metrics: exports what a log and Redis show, and no single worker knows."""
