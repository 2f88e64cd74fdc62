"""TFDS builders: one example per pair of frames, in order, bytes unchanged.

TFDS's usual builder keeps a split in memory and, above 1 GB, calls TensorFlow; the
sharded one writes each example immediately. A shard is a video. Importing this module
registers the builders with TFDS.
"""

import functools
import os
import re
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource

from mtujax.common.files import to_disk
from mtujax.common.text import listed
from mtujax.data.datasets import DATASETS, dataset
from mtujax.data.folders import KINDS, find
from mtujax.errors import UserError
from mtujax.video.image_files import damage, image_size

VERSION = tfds.core.Version("1.0.0")


class PairBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):
    """Writes examples {"blurry", "sharp": image, "video": text, "frame": int32}.

    `frame` counts from 0 in each video; videos follow each other as in
    `info.metadata["videos"]`: {split: [[name, frames, height, width], ...]}.
    """

    VERSION = VERSION
    RELEASE_NOTES = {"1.0.0": "First version."}
    # Called after each pair is written, if not None
    on_pair: Callable[[], None] | None = None

    @classmethod
    def named(cls, config: str) -> str | tfds.core.BuilderConfig:
        """The config for TFDS: its name, or an object where any name is valid."""
        own = cls.name == "pairs" and config != "default"
        return tfds.core.BuilderConfig(name=config) if own else config

    def _info(self):
        known = dataset(self.name)
        image = tfds.features.Image(
            shape=(None, None, 3), encoding_format=known.image_format
        )
        return tfds.core.DatasetInfo(
            builder=self,
            description=known.title,
            homepage=known.homepage or None,
            features=tfds.features.FeaturesDict(
                {
                    "blurry": image,
                    "sharp": image,
                    "video": tfds.features.Text(),
                    "frame": np.int32,
                }
            ),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(),
        )

    def _shard_iterators_per_split(self, dl_manager):
        config = self.builder_config.name if self.builder_config else None
        found = find(self.name, os.fspath(dl_manager.manual_dir), config)
        _refuse(found)
        self.info.metadata["layout"] = found.layout
        self.info.metadata["videos"] = {
            split: [[v.name, len(v.pairs), *image_size(v.paths(0)[0])] for v in videos]
            for split, videos in found.splits.items()
        }
        return {
            split: [functools.partial(self._examples, video) for video in videos]
            for split, videos in found.splits.items()
        }

    def _examples(self, video) -> Iterator[tuple[int, dict]]:
        for frame in range(len(video.pairs)):
            paths = video.paths(frame)
            for path in paths:
                if wrong := damage(path.read_bytes()):
                    raise UserError(f"{path}: {wrong}")
            # Paths, not bytes: TFDS then copies the files unchanged.
            example = dict(zip(KINDS, map(os.fspath, paths), strict=True))
            yield frame, {**example, "video": video.name, "frame": frame}
            if self.on_pair:
                self.on_pair()

    def _download_and_prepare(self, dl_manager, download_config=None):
        super()._download_and_prepare(dl_manager, download_config)
        # Still under the temporary name: an incomplete set never gets its final one.
        for split, videos in self.info.metadata["videos"].items():
            shards = [os.fspath(path) for path in self.info.splits[split].filepaths]
            for shard, (_, frames, _, _) in zip(shards, videos, strict=True):
                if len(ArrayRecordDataSource([shard])) != frames:
                    raise UserError(f"{shard}: incomplete")
                to_disk(shard)

    def prepare_from(self, folder: str) -> None:
        """Writes the set's records from its folder, as it was unpacked."""
        config = tfds.download.DownloadConfig(manual_dir=folder)
        self.download_and_prepare(download_config=config)

    def _log_download_bytes(self):
        """Logs nothing: there is no download, and TFDS's own message would mislead."""

    _log_download_done = _log_download_bytes

    def raw_source(self, split: str):
        """TFDS data source of a split; `blurry` and `sharp` are their files' bytes."""
        skip = {kind: tfds.decode.SkipDecoding() for kind in KINDS}
        return self.as_data_source(split, decoders=skip)


def _refuse(found):
    wrong = [line for video in found.videos for line in video.unpaired]
    for split in found.splits:
        # TFDS would read other characters as slices or sums of splits.
        if not re.fullmatch(r"\w+", split) or split.lower() == "all":
            wrong.append(f"{split}: not the name of a split; use letters, digits and _")
    if wrong:
        raise UserError(
            f"{found.root}: cannot be prepared: {listed(wrong, between='; ')}"
        )


def _made(name):
    """The builder of a dataset, which this registers with TFDS."""
    known = dataset(name)
    configs = known.configs or ({"default": None} if name == "pairs" else {})
    fields = {
        "__module__": __name__,
        "__doc__": known.title,
        "name": name,
        "BUILDER_CONFIGS": [
            tfds.core.BuilderConfig(name=n, description=d) for n, d in configs.items()
        ],
        "MANUAL_DOWNLOAD_INSTRUCTIONS": known.instructions,
    }
    return type(name.capitalize(), (PairBuilder,), fields)


for _name in DATASETS:  # Gopro and so on, to be found by that name when unpickled
    globals()[_name.capitalize()] = _made(_name)
