"""Samples as columns, their wire form, and the identity of a series in the sink."""
