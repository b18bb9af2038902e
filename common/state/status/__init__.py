"""Where a pipeline stands, as ``etlctl status`` and the status page of etl-metrics say it."""
