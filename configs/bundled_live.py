r"""The bundled network for live use: causal, so no frame waits for another.

    python train.py --config=configs/bundled_live.py --config.data.path=PHOTOS \
        --config.data.cutouts=CUTOUTS --config.validation.path=HELD_OUT
    mtujax export runs/bundled_live mtu1_live.safetensors

One unit of the network as the paper's text has it: the frame before, the current one
and none ahead, and the last layer reads the moved features (Sec. 3.2).
bundled_live.py:cpu does without a GPU. A tenth of the clips is sharp though it moves,
as for bundled_mtu1.py.
Expected: as configs/bundled_mtu2.py, half of its computation, 26.33 dB or more.
Paper: has no scores of it.
"""

from ml_collections import ConfigDict

from configs import bundled_mtu1


def get_config(device: str = "gpu") -> ConfigDict:
    """As `bundled_mtu1`, with no look-ahead."""
    config = bundled_mtu1.get_config(device)
    config.run = "runs/bundled_live"
    config.model.lookback = 1
    config.model.lookahead = 0
    config.model.initial_features = "zero"
    return config
