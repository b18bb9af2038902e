"""Real samples before and after the transform."""
