"""Every searcher against peers, on problems whose accuracies are all known."""
