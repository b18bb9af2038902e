"""The operator's side of verifying: what to compare, and how the outcome is shown."""
