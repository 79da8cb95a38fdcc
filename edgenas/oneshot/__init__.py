"""Weight-sharing supernets, their training and its data."""
