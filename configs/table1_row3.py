r"""Table 1, row 3: motion compensation without residual learning.

    python train.py --config=configs/table1_row3.py --config.data.path=DVD \
        --config.data.teacher=liteflownet

300 k updates, one per frame, at a constant 1e-4.
The detail features are matched directly, without a motion layer, as in row 4.
Expected: hours not measured yet, on any device.
Paper: 30.07 dB, SSIM 0.920; motion compensation 27.26 dB, 0.863 (Table 1, row 3).
"""

from ml_collections import ConfigDict

from configs import table1_row4


def get_config() -> ConfigDict:
    """The output is not added to the blurry frame."""
    config = table1_row4.get_config()
    config.run = "runs/table1_row3"
    config.model.residual_learning = False
    return config
