r"""The bundled network for live use: as `fast`, and no frame waits for another.

    python train.py --config=configs/bundled_fast_live.py --config.data.path=PHOTOS \
        --config.data.cutouts=CUTOUTS --config.validation.path=HELD_OUT
    mtujax export runs/bundled_fast_live fast_live.safetensors

It sees the frame before and the current one; their motion is the way from the one to
the other. bundled_fast_live.py:cpu does without a GPU.
Expected: an hour and a half on CPU cores from `fast` (--config.init_from=fast;
docs/lab-notes/training-log.md), for the 27.57 dB of the bundled weights on the fixed
validation set (docs/models.md); blurry 25.85 dB. Continue from these with
--config.init_from=fast_live.
Paper: has nothing like it.
"""

import dataclasses

from ml_collections import ConfigDict

from configs import bundled_fast
from mtujax.config import PRESETS


def get_config(device: str = "gpu") -> ConfigDict:
    """As `bundled_fast`, with no look-ahead."""
    config = bundled_fast.get_config(device)
    config.run = "runs/bundled_fast_live"
    dtype = config.model.dtype
    config.model.update(dataclasses.asdict(PRESETS["fast_live"]))
    config.model.dtype = dtype
    return config
