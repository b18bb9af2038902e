"""The status page of etl-metrics: how the pipeline does, and how it did in the last hours."""
