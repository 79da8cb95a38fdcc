"""Objective values of architectures."""
