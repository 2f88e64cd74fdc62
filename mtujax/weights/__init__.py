"""Weights on disk: safetensors, bundled files, the authors' checkpoints."""
