r"""MTU2 in float16 with loss scaling, the paper's half precision.

    python train.py --config=configs/mtu2_fp16.py --config.data.path=DVD \
        --config.data.teacher=liteflownet

GoPro: --config.data.name=gopro and its path. Needs an accelerator. Small gradients
would vanish in float16: losses are scaled, and the gradients scaled back in float32.
Expected: hours not measured yet, on any device.
Paper: 30.99 dB, SSIM 0.932 on DVD (Table 3); 29.90 dB, 0.928 on GoPro (Table 4).
"""

from ml_collections import ConfigDict

from configs import mtu2


def get_config() -> ConfigDict:
    """MTU2 that computes in float16."""
    config = mtu2.get_config()
    config.run = "runs/mtu2_fp16"
    config.model.dtype = "float16"
    return config
