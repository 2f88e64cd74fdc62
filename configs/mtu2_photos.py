r"""The published MTU2 on photographs: blur as wide as hand-held clips go.

    python train.py --config=configs/mtu2_photos.py --config.data.path=PHOTOS \
        --config.data.cutouts=CUTOUTS --config.validation.path=HELD_OUT
    mtujax export runs/mtu2_photos own.safetensors

On a GPU: bfloat16, blur made on the device. Without one, mtu2_photos.py:cpu takes
small crops and float32. A third of the clips is compressed: by H.264 on the host, by
what is like it on the device (synthesis/device/sensor.py). A fifth is sharp though it
moves, or the network takes motion itself for blur and sharpens what is sharp.
CUTOUTS may be left out. The same command resumes the run; another run, on another
device or of the other form, resumes by --config.resume_state_from=STATE.safetensors
what `mtujax export RUN STATE.safetensors --state` wrote.
Expected: 18 minutes on an H100, at the 56 updates/s that it made there in six minutes,
or with --config.train.schedule=timed what --config.max_minutes says; :cpu 80 minutes on
2 CPU cores (docs/lab-notes/training-log.md). On the fixed validation set 26.96 dB
after some five hours of CPU cores and six minutes of an H100, many channels dead;
blurry 25.85 dB.
Paper: has nothing like it; its networks are trained on filmed data sets.
"""

from ml_collections import ConfigDict

from configs import default
from mtujax.errors import UsageError


def get_config(device: str = "gpu") -> ConfigDict:
    """The paper's scheme, an update for each frame; "cpu" in small pieces."""
    config = default.get_config()
    config.run = "runs/mtu2_photos"
    config.rescale_init = True
    config.model.dtype = "bfloat16"
    config.batch = 16
    config.train.steps = 60_000
    config.train.scheme = "paper"
    config.train.frames_per_update = 1
    config.train.schedule = "cosine"
    config.train.warmup = 500
    config.train.learning_rate = 7e-4
    config.train.motion_weight = 3e-4
    config.data.name = "synthetic"
    config.data.label_all_cells = False
    config.data.max_side = 1600
    config.data.frames = 10
    config.data.crop = 192
    config.data.shake.speed = (3.0, 28.0)
    config.data.exposure.duty = (0.1, 1.0)
    config.data.exposure.compressed = 0.33
    config.data.exposure.sharp = 0.2
    config.validation.every = 5000
    if device == "cpu":
        _in_small_pieces(config)
    elif device != "gpu":
        raise UsageError(f"--config=FILE:{device}: must be gpu or cpu")
    return config


def _in_small_pieces(config):
    config.batch = 4
    config.save_every = 500
    config.model.dtype = "float32"
    config.train.steps = 9000
    config.train.warmup = 200
    config.data.frames = 6
    config.data.crop = 96
    config.data.exposure.duty = (0.3, 1.0)  # little time for what is sharp already
    config.data.threads = 1
    config.validation.frames = 7
    config.validation.every = 1500
