"""Contract suites and fakes for plug-in writers; imported by nothing."""
