"""Reading the configuration again while a service works."""
