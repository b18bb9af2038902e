"""The directory of secrets: made, kept, rotated, checked. docs/security.md describes all of it."""
