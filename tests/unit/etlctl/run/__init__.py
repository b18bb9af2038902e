"""Unit tests of etlctl/run."""
