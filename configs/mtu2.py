r"""MTU2, two units, trained as the release was.

    python train.py --config=configs/mtu2.py --config.data.path=DVD \
        --config.data.teacher=liteflownet

GoPro: --config.data.name=gopro and its path. 1.3 M updates, one per frame: 100,000
batches of 8 clips of 13 frames, 256x256.
Expected: hours not measured yet, on any device.
Paper: 31.00 dB, SSIM 0.933 on DVD (Table 3); 29.91 dB, 0.928 on GoPro (Table 4).
Parameters: 1,037,325 (1.04 M in the paper).
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """MTU2 as released."""
    config = default.get_config()
    config.run = "runs/mtu2"
    return config
