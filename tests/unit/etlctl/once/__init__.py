"""Tests of ``etlctl once``."""
