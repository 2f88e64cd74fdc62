"""The networks in PyTorch, to check conversions and to compare times."""
