"""Writes line protocol to InfluxDB and sorts its responses into verdicts."""
