"""``etlctl run`` as a process, on a real Prometheus and InfluxDB."""
