"""What the loader writes to the sink for a proof without the source: seals, and configurations."""
