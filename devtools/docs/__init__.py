"""Renders the reference pages that are made from the code."""
