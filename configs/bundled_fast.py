r"""The bundled network for files: patches, and samples of each frame along its motion.

    python train.py --config=configs/bundled_fast.py --config.data.path=PHOTOS \
        --config.data.cutouts=CUTOUTS --config.validation.path=HELD_OUT
    mtujax export runs/bundled_fast fast.safetensors

A quarter of the places, and less than half of MTU2's time a frame. Nothing in it dies:
below zero the activation keeps a slope. bundled_fast.py:cpu does without a GPU.
Expected: 8 hours on CPU cores (docs/lab-notes/training-log.md), for the 27.79 dB of the
bundled weights on the fixed validation set (docs/models.md); blurry 25.85 dB.
Paper: has nothing like it.
"""

import dataclasses

from ml_collections import ConfigDict

from configs import default
from mtujax.config import PRESETS
from mtujax.errors import UsageError


def get_config(device: str = "gpu") -> ConfigDict:
    """One unit on patches of 2x2 pixels; large crops, in which motion can be found."""
    config = default.get_config()
    config.run = "runs/bundled_fast"
    config.rescale_init = True
    config.model.update(dataclasses.asdict(PRESETS["fast"]))
    config.model.dtype = "bfloat16"
    config.batch = 16
    config.train.steps = 100_000
    config.train.scheme = "paper"
    config.train.loss = "psnr"
    config.train.optimizer = "muon"
    config.train.frames_per_update = 1
    config.train.schedule = "cosine"
    config.train.warmup = 500
    config.train.learning_rate = 5e-4
    config.train.motion_weight = 1e-4
    config.data.name = "synthetic"
    config.data.label_all_cells = False
    config.data.use_preceding_frames = True
    config.data.max_side = 1280
    config.data.frames = 8
    config.data.crop = 256
    config.data.shake.speed = (1.5, 24.0)
    config.data.exposure.duty = (0.3, 1.0)
    config.data.exposure.compressed = 0.3
    config.data.exposure.sharp = 0.1
    config.data.exposure.averaged = 0.5
    config.data.exposure.averaged_duty = (0.5, 1.0)
    config.validation.every = 5000
    if device == "cpu":
        config.batch = 4
        config.save_every = 500
        config.model.dtype = "float32"
        config.train.warmup = 200
        config.data.frames = 5
        config.data.crop = 192
        config.data.threads = 1
        config.validation.frames = 4
        config.validation.every = 1500
    elif device != "gpu":
        raise UsageError(f"--config=FILE:{device}: must be gpu or cpu")
    return config
