"""Does the sink still hold what was loaded? Compared with the seals that were written then."""
