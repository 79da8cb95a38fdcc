"""What is timed, in which order, how often; makes tables and measures files."""
