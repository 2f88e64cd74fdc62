r"""MTU10_L, ten units of 48 channels, trained as the release was.

    python train.py --config=configs/mtu10_l.py --config.data.path=DVD \
        --config.data.teacher=liteflownet

GoPro: --config.data.name=gopro and its path. 1.3 M updates, one per frame: 100,000
batches of 8 clips of 13 frames, 256x256.
Expected: hours not measured yet, on any device.
Paper: 32.27 dB, SSIM 0.947 on DVD (Table 3); 31.92 dB, 0.950 on GoPro (Table 4).
Parameters: 13,802,547 (13.80 M in the paper).
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """MTU10_L as released."""
    config = default.get_config()
    config.run = "runs/mtu10_l"
    config.model.num_units = 10
    config.model.channels = 48
    config.model.num_blocks = 6
    return config
