"""Is the sink equal to the source? Read both again, apply the transform, compare point by point."""
