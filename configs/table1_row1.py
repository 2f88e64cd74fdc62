"""Table 1, row 1: neither residual learning nor motion compensation.

    python train.py --config=configs/table1_row1.py --config.data.path=DVD

300 k updates, one per frame, at a constant 1e-4.
There is no motion layer; the paper measures motion by matching the detail features of
the trained network directly.
Expected: hours not measured yet, on any device.
Paper: 29.42 dB, SSIM 0.909; motion compensation 26.21 dB, 0.842 (Table 1, row 1).
"""

from ml_collections import ConfigDict

from configs import table1_row2


def get_config() -> ConfigDict:
    """The stripped-down baseline."""
    config = table1_row2.get_config()
    config.run = "runs/table1_row1"
    config.model.residual_learning = False
    return config
