"""Renders the definitions for Prometheus and Grafana, and checks what was rendered."""
