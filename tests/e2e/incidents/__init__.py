"""What can go wrong in a whole pipeline, for the tests of alerts and panels."""
