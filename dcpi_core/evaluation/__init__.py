"""Measuring what a condensed set is worth: the only code that sees test data."""
