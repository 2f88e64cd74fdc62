r"""MTU4, four units, trained as the release was.

    python train.py --config=configs/mtu4.py --config.data.path=DVD \
        --config.data.teacher=liteflownet

GoPro: --config.data.name=gopro and its path. 1.3 M updates, one per frame: 100,000
batches of 8 clips of 13 frames, 256x256.
Expected: hours not measured yet, on any device.
Paper: 31.41 dB, SSIM 0.937 on DVD (Table 3); 30.34 dB, 0.933 on GoPro (Table 4).
Parameters: 2,035,829 (2.04 M in the paper).
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """MTU4 as released."""
    config = default.get_config()
    config.run = "runs/mtu4"
    config.model.num_units = 4
    return config
