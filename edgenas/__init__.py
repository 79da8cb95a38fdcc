"""edgenas: a hardware-aware neural-architecture-search compiler for edge deployment."""

__version__ = "0.1.0"
