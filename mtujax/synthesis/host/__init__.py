"""Synthesis in NumPy and OpenCV, without JAX."""
