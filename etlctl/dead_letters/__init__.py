"""What ``etlctl dead-letters`` does with dead letters."""
