"""From the file and the environment to checked settings."""
