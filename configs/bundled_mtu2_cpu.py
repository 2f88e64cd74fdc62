r"""The bundled MTU2 where there is no GPU: small crops, float32, compressed clips.

    python train.py --config=configs/bundled_mtu2_cpu.py --config.data.path=PHOTOS \
        --config.data.cutouts=CUTOUTS --config.validation.path=HELD_OUT
    mtujax export runs/bundled_mtu2_cpu mtu2.safetensors

A third of the clips goes through H.264, which no device does. More of it later:
--config.train.steps, which also stretches the schedule.
Expected: two hours on 2 CPU cores.
Paper: has nothing like it; its networks are trained on filmed data sets.
"""

from ml_collections import ConfigDict

from configs import bundled_mtu2


def get_config() -> ConfigDict:
    """As `bundled_mtu2`, in small pieces."""
    config = bundled_mtu2.get_config()
    config.run = "runs/bundled_mtu2_cpu"
    config.batch = 4
    config.save_every = 500
    config.model.dtype = "float32"
    config.train.steps = 9000
    config.train.warmup = 200
    config.data.frames = 6
    config.data.crop = 96
    config.data.exposure.compressed = 0.33
    config.data.threads = 1
    config.validation.frames = 7
    config.validation.every = 1500
    return config
