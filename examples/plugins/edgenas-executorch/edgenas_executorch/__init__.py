"""ExecuTorch for edgenas: an exporter to .pte files for XNNPACK, and its runtime."""

SUFFIX = ".pte"
"""Of ExecuTorch's programs."""
