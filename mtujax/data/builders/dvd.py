"""TFDS builder of DVD (Su et al. 2017)."""

from mtujax.data.builders.base import PairBuilder, configs
from mtujax.data.layouts import dataset


class Dvd(PairBuilder):
    """DVD; its files are JPEG."""

    name = "dvd"
    BUILDER_CONFIGS = configs(name)
    MANUAL_DOWNLOAD_INSTRUCTIONS = dataset(name).instructions
