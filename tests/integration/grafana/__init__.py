"""A real Grafana that has this checkout's provisioning, held to what it was given.

``ETL_TEST_GRAFANA_URL`` names it; docs/monitoring.md has the other variables.
"""
