"""mtujax: real-time video deblurring with lightweight motion compensation, in JAX.

After Son et al., "Real-Time Video Deblurring via Lightweight Motion Compensation"
(PG 2022). Conventions everywhere: arrays are NHWC float32, images RGB in [0, 1].
`flow[..., 0]` is dx (columns), `flow[..., 1]` dy (rows), in pixels of the array it is
applied to, and backward: `warped[y, x] = previous[y + dy, x + dx]`, zeros outside. The
class of a displacement is `(dy + r)(2r + 1) + (dx + r)`.
"""

import importlib

_PUBLIC = {
    # The network
    "ModelConfig": "config",
    "PRESETS": "config",
    "PAPER_TEXT": "config",
    "MTUNet": "model.network",
    "RecurrentState": "model.network",
    "initial_state": "model.network",
    "init_params": "model.network",
    "inference_params": "model.network",
    # Video
    "restore_clip": "model.clip",
    "Stream": "model.stream",
    "deblur_video": "deblur.api",
    "evaluate": "evaluation.api",
    # Weights
    "load": "weights.files",
    "save_weights": "weights.files",
    # The matcher and its parts
    "match": "ops.matching",
    "cost_volume": "ops.matching",
    "backward_warp": "ops.warping",
    # Metrics and losses
    "psnr": "metrics.image",
    "ssim": "metrics.image",
    "restoration_loss": "training.losses",
    "motion_loss": "training.losses",
}
__all__ = list(_PUBLIC)


def __getattr__(name: str):
    """Imports a public name when it is first asked for: `--help` needs no JAX."""
    if name == "__version__":
        from importlib.metadata import version

        value = version("mtujax")
    elif name in _PUBLIC:
        value = getattr(importlib.import_module(f"mtujax.{_PUBLIC[name]}"), name)
    else:
        raise AttributeError(f"module 'mtujax' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted([*globals(), *__all__])
