"""The network, its step, and the ways to drive it over a clip, a stream or tiles."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
