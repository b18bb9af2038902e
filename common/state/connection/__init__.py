"""Connections to Redis: to one server, or to whichever of several is the master now."""
