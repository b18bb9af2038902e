"""What ``etlctl doctor`` says without a server."""
