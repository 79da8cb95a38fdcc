"""Lowerings of the one operator description: to torch, to ONNX, to TFLite."""
