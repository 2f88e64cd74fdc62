"""Datasets and the clips that training draws from: no JAX."""
