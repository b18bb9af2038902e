"""The alerts, one module for each thing that is watched."""
