r"""What the other configurations start from: the release's training of MTU2.

    python train.py --config=configs/default.py --config.data.path=DVD \
        --config.data.teacher=liteflownet

Every value is the default of its dataclass (mtujax/training/config.py, schemes.py and
config.py say what each means) but for those below. Expected: as configs/mtu2.py.
"""

from ml_collections import ConfigDict

from mtujax.config import PRESETS
from mtujax.training.config import RELEASE, DataConfig, RunConfig
from mtujax.training.config_dict import to_config_dict


def get_config() -> ConfigDict:
    """The release: an update per frame, 1.3 M in all, labels where it had them."""
    data = DataConfig(name="dvd", label_all_cells=True)
    return to_config_dict(RunConfig(model=PRESETS["mtu2"], train=RELEASE, data=data))
