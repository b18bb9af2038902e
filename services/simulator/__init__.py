"""A monitored test application and a simulated ETL process: something to watch, and to break."""
