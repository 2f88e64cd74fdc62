"""Video files and raw frames in and out: the only folder that knows PyAV; no JAX."""
