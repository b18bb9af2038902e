"""What is checked of the source beside its samples: its clock, and how it scrapes."""
