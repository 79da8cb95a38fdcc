"""Differentiable search: supernets whose choices run side by side, and learn."""
