"""The directory of secrets: made, kept, rotated, checked. docs/security.md tells the whole."""
