"""The independent services; none of them imports another."""
