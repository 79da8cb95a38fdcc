"""OpenVINO for edgenas: an exporter to its IR, in one file, and its CPU plugin as a runtime."""

SUFFIX = ".ovz"
"""Of the files: a ZIP archive of OpenVINO's ``model.xml`` and ``model.bin``."""
