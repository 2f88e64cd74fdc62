"""Metrics of frames, motion and temporal consistency, and published protocols."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
