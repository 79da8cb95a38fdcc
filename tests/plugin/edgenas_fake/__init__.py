"""A plug-in for tests: ONNX under another name, run by onnxruntime."""

SUFFIX = ".fake"
