"""Parts of the small HTTP server of every service."""
