"""The images of the pipeline, and the two programs that only containers run."""
