"""``etlctl init`` on a real Prometheus and InfluxDB."""
