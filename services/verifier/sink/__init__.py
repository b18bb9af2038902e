"""Reading points back from the sink."""
