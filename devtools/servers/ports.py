"""The address of what runs here, and free ports on it: as ``etlctl run`` takes them."""

from etlctl.run.ports import HOST, free_port

__all__ = ["HOST", "free_port"]
