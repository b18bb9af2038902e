"""What of each feed's time is loaded, proven and sealed, and what is missing of it."""
