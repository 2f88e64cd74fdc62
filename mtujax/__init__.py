"""mtujax: real-time video deblurring with lightweight motion compensation, in JAX.

After Son et al., "Real-Time Video Deblurring via Lightweight Motion Compensation"
(PG 2022). Conventions everywhere: arrays are NHWC float32, images RGB in [0, 1].
`flow[..., 0]` is dx (columns), `flow[..., 1]` dy (rows), in pixels of the array it is
applied to, and backward: `warped[y, x] = previous[y + dy, x + dx]`, zeros outside. The
class of a displacement is `(dy + r)(2r + 1) + (dx + r)`.
"""

import lazy_loader

# Names are imported when they are first asked for: `--help` needs no JAX.
_imported, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str):
    """Imports a public name, or reads the version."""
    if name == "__version__":
        from importlib.metadata import version

        return version("mtujax")
    return _imported(name)
