"""A job from its file to its report: run loop, storage, picking."""
