r"""Table 1, row 4 = Table 2, row 3: without structure injection.

    python train.py --config=configs/table1_row4.py --config.data.path=DVD \
        --config.data.teacher=liteflownet

300 k updates, one per frame, at a constant 1e-4.
Motion compensation and its loss work on the detail features directly: there is no
motion layer, whose convolution would be a place to adapt them; they are averaged over
4x4 pixels instead, to the same grid.
Expected: hours not measured yet, on any device.
Paper: 29.84 dB, SSIM 0.915; motion compensation 27.24 dB, 0.862 (both tables).
"""

from ml_collections import ConfigDict

from configs import table2_row4


def get_config() -> ConfigDict:
    """Both tasks compete for the same features."""
    config = table2_row4.get_config()
    config.run = "runs/table1_row4"
    config.model.structure_injection = False
    config.model.motion_layer = False
    return config
