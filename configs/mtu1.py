r"""MTU1, one unit, trained as the release was.

    python train.py --config=configs/mtu1.py --config.data.path=DVD \
        --config.data.teacher=liteflownet

GoPro: --config.data.name=gopro and its path. 1.3 M updates, one per frame: 100,000
batches of 8 clips of 13 frames, 256x256.
Expected: hours not measured yet, on any device.
Paper: 30.21 dB, SSIM 0.921 on DVD (Table 3); 29.00 dB, 0.915 on GoPro (Table 4).
Parameters: 538,073 (0.54 M in the paper).
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """MTU1 as released."""
    config = default.get_config()
    config.run = "runs/mtu1"
    config.model.num_units = 1
    return config
