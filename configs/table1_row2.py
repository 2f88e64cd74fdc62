"""Table 1, row 2 = Table 2, row 1: residual learning without motion compensation.

    python train.py --config=configs/table1_row2.py --config.data.path=DVD

300 k updates, one per frame, at a constant 1e-4.
Previous features are used where they are. There is no motion layer; the paper measures
motion by matching the detail features of the trained network directly.
Expected: hours not measured yet, on any device.
Paper: 29.97 dB, SSIM 0.917; motion compensation 25.09 dB, 0.804 (both tables).
"""

from ml_collections import ConfigDict

from configs import table1_row4


def get_config() -> ConfigDict:
    """No unit matches."""
    config = table1_row4.get_config()
    config.run = "runs/table1_row2"
    config.model.motion_compensation = False
    config.train.motion_weight = 0.0
    return config
