"""Exporters: a trained network to a target's file, checked against the network, with a manifest."""

from __future__ import annotations

from edgenas.exporters import onnx, tensorrt, tflite  # each registers its exporter
from edgenas.exporters.base import EXPORTERS, Exporter, ExportRequest

__all__ = ["EXPORTERS", "ExportRequest", "Exporter", "get", "onnx", "tensorrt", "tflite"]


def get(target: str, precision: str = "float32") -> Exporter:
    """Return the exporter to `target` with its recipe for `precision`.

    Raises:
        RegistryError: there is no such target.
        ExportError: there is no recipe for the precision.
    """
    return EXPORTERS.get(target).with_recipe(precision)
