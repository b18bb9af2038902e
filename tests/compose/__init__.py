"""The deployment, tried on a real Docker engine."""
