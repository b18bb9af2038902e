"""Writes line protocol to InfluxDB and sorts its answers into verdicts."""
