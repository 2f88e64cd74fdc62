r"""The bundled MTU1: one unit, whose last layer reads what the matcher has moved.

    python train.py --config=configs/bundled_mtu1.py --config.data.path=PHOTOS \
        --config.data.cutouts=CUTOUTS --config.validation.path=HELD_OUT
    mtujax export runs/bundled_mtu1 mtu1.safetensors

In the released MTU1 the matcher reaches no image; that form is trained alike by
--config.model.last_unit_reads_warped=False --config.run=runs/released_mtu1
(docs/training-log.md compares them). bundled_mtu1.py:cpu does without a GPU. A tenth of
the clips is sharp though it moves: from a fifth, one unit learns to leave blur alone.
Expected: as configs/bundled_mtu2.py, half of its computation, 26.32 dB or more.
Paper: has nothing like it; its networks are trained on filmed data sets.
"""

from ml_collections import ConfigDict

from configs import bundled_mtu2


def get_config(device: str = "gpu") -> ConfigDict:
    """As `bundled_mtu2`, with one unit."""
    config = bundled_mtu2.get_config(device)
    config.run = "runs/bundled_mtu1"
    config.model.num_units = 1
    config.model.last_unit_reads_warped = True
    config.data.exposure.sharp = 0.1
    return config
