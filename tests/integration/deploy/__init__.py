"""What the deployment's scripts do with real servers."""
