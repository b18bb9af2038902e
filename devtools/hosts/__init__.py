"""Hosts that can be cut off, as network namespaces of this machine."""
