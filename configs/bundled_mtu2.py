r"""The bundled MTU2: wide blur filmed on the device from photographs, in bfloat16.

    python train.py --config=configs/bundled_mtu2.py --config.data.path=PHOTOS \
        --config.data.cutouts=CUTOUTS --config.validation.path=HELD_OUT
    mtujax export runs/bundled_mtu2 mtu2.safetensors

CUTOUTS may be left out. The run goes on where it stopped; on another device, or with
another configuration of this network, by --config.go_on_from=STATE with what
`mtujax export RUN STATE --state` wrote.
Expected: not measured yet; 35 minutes on an H100-class GPU at the 150 updates/s that
are aimed at.
Paper: has nothing like it; its networks are trained on filmed data sets.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The paper's scheme, an update for each frame, as wide as hand-held clips go."""
    config = default.get_config()
    config.run = "runs/bundled_mtu2"
    config.spread = True
    config.model.dtype = "bfloat16"
    config.train.steps = 300_000
    config.train.scheme = "paper"
    config.train.frames_per_update = 1
    config.train.schedule = "cosine"
    config.train.warmup = 500
    config.train.learning_rate = 7e-4
    config.train.motion_weight = 1e-4
    config.data.name = "synthetic"
    config.data.every_cell = False
    config.data.longest = 1600
    config.data.shake.speed = (3.0, 28.0)
    config.data.exposure.duty = (0.3, 1.0)
    config.validation.every = 5000
    return config
