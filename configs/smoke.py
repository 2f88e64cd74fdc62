"""Learns on blur made from one photograph, judged on another: shows that all works.

    python train.py --config=configs/smoke.py

Nothing has to be downloaded: both photographs come with the package. A small network
and weights that learn at once, by the paper's scheme with an update per clip.
Expected: minutes on 2 CPU cores; PSNR above that of the blurry frames.
Paper: has nothing like it.
"""

import importlib.resources

from ml_collections import ConfigDict

from configs import default

ASSETS = importlib.resources.files("mtujax") / "assets"


def get_config() -> ConfigDict:
    """Small in every respect."""
    config = default.get_config()
    config.run = "runs/smoke"
    config.batch = 4
    config.rescale_init = True
    config.log_every = 10
    config.save_every = 100
    config.model.channels = 16
    config.model.num_blocks = 2
    config.train.steps = 200
    config.train.scheme = "paper"
    config.train.frames_per_update = None
    config.train.learning_rate = 1e-3
    config.train.schedule = "cosine"
    config.train.warmup = 20
    config.train.motion_weight = 1e-4
    config.train.ema_decay = 0.98
    config.data.name = "synthetic"
    config.data.path = str(ASSETS)
    config.data.frames = 4
    config.data.crop = 64
    config.data.label_all_cells = False
    config.data.max_side = 640
    config.data.shake.speed = (6.0, 16.0)
    config.data.exposure.duty = (0.6, 1.0)
    config.validation.path = str(ASSETS / "held_out")
    config.validation.clips = 4
    config.validation.frames = 6
    config.validation.size = (160, 240)
    config.validation.every = 100
    return config
