"""Fuzzing of every decoder: ``python -m devtools.fuzz`` tries mutated inputs."""
