r"""MTU10, ten units, trained as the release was.

    python train.py --config=configs/mtu10.py --config.data.path=DVD \
        --config.data.teacher=liteflownet

GoPro: --config.data.name=gopro and its path. 1.3 M updates, one per frame: 100,000
batches of 8 clips of 13 frames, 256x256.
Expected: hours not measured yet, on any device.
Paper: 31.90 dB, SSIM 0.943 on DVD (Table 3); 31.14 dB, 0.942 on GoPro (Table 4).
Parameters: 5,031,341 (5.03 M in the paper).
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """MTU10 as released."""
    config = default.get_config()
    config.run = "runs/mtu10"
    config.model.num_units = 10
    return config
