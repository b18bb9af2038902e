"""Unit tests of etlctl/init."""
