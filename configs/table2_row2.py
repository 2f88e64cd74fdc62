"""Table 2, row 2: motion compensation without motion loss.

    python train.py --config=configs/table2_row2.py --config.data.path=DVD

300 k updates, one per frame, at a constant 1e-4.
No labels are needed. The detail features are matched directly, as in row 3: no motion
layer, which nothing would train, as no gradient passes the arg-max.
Expected: hours not measured yet, on any device.
Paper: 30.18 dB, SSIM 0.921; motion compensation 25.73 dB, 0.831 (Table 2, row 2).
"""

from ml_collections import ConfigDict

from configs import table1_row4


def get_config() -> ConfigDict:
    """Nothing teaches the features to match."""
    config = table1_row4.get_config()
    config.run = "runs/table2_row2"
    config.train.motion_weight = 0.0
    return config
