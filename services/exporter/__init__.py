"""etl-metrics: exports what a log and Redis tell, and no single worker knows."""
