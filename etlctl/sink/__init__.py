"""Preparing the sink: organisation, buckets, and a token that may no more than it must."""
