"""Selection over whole populations in arrays: exact where costs fold, evolution elsewhere."""
