r"""MTU2 in bfloat16.

    python train.py --config=configs/mtu2_bf16.py --config.data.path=DVD \
        --config.data.teacher=liteflownet

GoPro: --config.data.name=gopro and its path. Weights, gradients and Adam stay float32;
no loss scaling is needed, as the range is that of float32.
Expected: not measured yet. At the 56 updates/s that configs/mtu2_photos.py, of batches
as large, made on an H100 with blur made there, 1.3 M updates take 6.4 hours.
Paper: no bfloat16; its float16 has 30.99 dB, SSIM 0.932 on DVD (Table 3).
"""

from ml_collections import ConfigDict

from configs import mtu2


def get_config() -> ConfigDict:
    """MTU2 that computes in bfloat16."""
    config = mtu2.get_config()
    config.run = "runs/mtu2_bf16"
    config.model.dtype = "bfloat16"
    return config
