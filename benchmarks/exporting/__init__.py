"""Exports: every family in every target and precision, how long they take, how fast the files."""
