"""Time that is extracted again."""
