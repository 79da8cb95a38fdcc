"""Models of a dear objective that say how sure they are."""
