"""What is known of the source beside its samples: its clock, its history, its failures."""
