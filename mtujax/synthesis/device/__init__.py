"""Synthesis in JAX, on the device that trains."""
