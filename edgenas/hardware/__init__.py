"""Devices: descriptions, connectors and meters."""
