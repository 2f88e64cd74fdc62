"""Blurry clips with exact motion, made on the device that trains: JAX, no host."""
