"""Driving ``docker compose`` with the project's files, for where make does not work."""
