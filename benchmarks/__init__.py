"""Benchmarks with committed results."""
