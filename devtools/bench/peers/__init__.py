"""Other tools on the same data and into the same sink, in the same run."""
