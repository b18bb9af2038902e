"""The fault suite: real processes are broken on purpose, and an oracle says what was lost."""
