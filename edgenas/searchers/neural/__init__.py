"""Controllers and surrogates that are neural networks: these modules load torch."""
