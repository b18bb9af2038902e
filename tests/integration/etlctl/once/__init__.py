"""``etlctl once`` on a real Prometheus and InfluxDB."""
