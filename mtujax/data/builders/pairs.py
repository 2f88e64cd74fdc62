"""TFDS builder of anyone's pairs of blurry and sharp frames."""

import tensorflow_datasets as tfds

from mtujax.data.builders.base import PairBuilder
from mtujax.data.layouts import dataset


class Pairs(PairBuilder):
    """Your own frames; a config of any name keeps several such sets apart."""

    name = "pairs"
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="default")]
    MANUAL_DOWNLOAD_INSTRUCTIONS = dataset(name).instructions

    @classmethod
    def named(cls, config: str) -> str | tfds.core.BuilderConfig:
        """A config of this name.

        Args:
            config: any name.

        Returns:
            The config.
        """
        return config if config == "default" else tfds.core.BuilderConfig(name=config)
