"""Fuzzing of every decoder: ``python -m fuzz`` feeds them mutated inputs by the million."""
