"""Video files and raw frames in and out: the only folder that knows PyAV; no JAX."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
