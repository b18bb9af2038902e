"""What every process is made of: the stage loop, HTTP, signals, logs, metrics and events."""
