"""Whether a process is ready, and who finds out: one probe for each dependency."""
