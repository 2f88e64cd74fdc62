"""TFDS builder of GoPro (Nah et al. 2017)."""

from mtujax.data.builders.base import PairBuilder, configs
from mtujax.data.layouts import dataset


class Gopro(PairBuilder):
    """GoPro; configs `blur_gamma` (default) and `blur`."""

    name = "gopro"
    BUILDER_CONFIGS = configs(name)
    MANUAL_DOWNLOAD_INSTRUCTIONS = dataset(name).instructions
