"""Differentiable search: whether budgets are met, and against once-for-all and random search."""
