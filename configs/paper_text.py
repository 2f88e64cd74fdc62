r"""MTU2 as the paper's text has it, causal.

    python train.py --config=configs/paper_text.py --config.data.path=DVD \
        --config.data.teacher=liteflownet

GoPro: --config.data.name=gopro and its path. It reads the frame before and the current
one and none ahead, the last unit reads the moved features, too, and before the first
frame there are zeros (Sec. 3.2 to 4.1); one Adam on the sum of both losses (Sec. 3.5).
Expected: hours not measured yet, on any device.
Paper: 31.00 dB, SSIM 0.933 on DVD for two units (Table 3); but the released network,
unlike the text, looks two frames ahead, so that this may fall short of it.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """What Sections 3 and 4 describe."""
    config = default.get_config()
    config.run = "runs/paper_text"
    config.model.lookback = 1
    config.model.lookahead = 0
    config.model.last_unit_reads_warped = True
    config.model.initial_features = "zero"
    config.train.scheme = "paper"
    return config
