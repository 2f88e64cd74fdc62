"""Training and demonstration data: NumPy and OpenCV only, no JAX."""
