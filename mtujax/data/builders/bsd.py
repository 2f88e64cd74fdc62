"""TFDS builder of BSD (Zhong et al., ESTRNN)."""

from mtujax.data.builders.base import PairBuilder, configs
from mtujax.data.layouts import dataset


class Bsd(PairBuilder):
    """BSD; a config for each pair of exposures, splits train, valid and test."""

    name = "bsd"
    BUILDER_CONFIGS = configs(name)
    MANUAL_DOWNLOAD_INSTRUCTIONS = dataset(name).instructions
