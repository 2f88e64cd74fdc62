"""TFDS builder of REDS (Nah et al. 2019)."""

from mtujax.data.builders.base import PairBuilder, configs
from mtujax.data.layouts import dataset


class Reds(PairBuilder):
    """REDS; the split `test` is its val."""

    name = "reds"
    BUILDER_CONFIGS = configs(name)
    MANUAL_DOWNLOAD_INSTRUCTIONS = dataset(name).instructions
