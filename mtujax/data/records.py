"""A split that TFDS prepared: few large files, read by `tfds.data_source`."""

import os
from pathlib import Path

import numpy as np

from mtujax.data.builders.load import prepared
from mtujax.data.sources import DecodedFrames, VideoInfo, no_split
from mtujax.errors import UserError


class RecordFrames(DecodedFrames):
    """Frames of records, as `data prepare` writes them."""

    def __init__(
        self,
        name: str,
        data_dir: str | os.PathLike,
        *,
        split: str,
        config: str | None = None,
        threads: int | None = None,
    ):
        """Opens the records; none is read yet.

        Args:
            name: of the dataset.
            data_dir: folder that `data prepare` wrote to.
            split: which part of it.
            config: its form; None takes the default.
            threads: that decode at once; None takes one for each core.

        Raises:
            UserError: if nothing usable is prepared there, or it has no such split.
        """
        super().__init__(threads)
        builder = prepared(name, config=config, data_dir=data_dir)
        self.name = f"{builder.info.full_name} in {Path(data_dir)}"
        if split not in builder.info.splits:
            raise no_split(self.name, split, list(builder.info.splits))
        self.videos = tuple(
            VideoInfo(*v) for v in builder.info.metadata["videos"][split]
        )
        self._starts = np.cumsum([0, *(video.frames for video in self.videos)])
        self._records = builder.raw_source(split)
        if len(self._records) != self._starts[-1]:
            raise UserError(
                f"{self.name}: damaged, as records are missing; prepare again"
            )

    def _load(self, video, places, window):
        info, start = self.videos[video], int(self._starts[video])
        positions = sorted({frame for _, frame in places})
        records = self._records.__getitems__([start + n for n in positions])
        by_position = dict(zip(positions, records, strict=True))

        def fetch(place):
            kind, frame = place
            record = by_position[frame]
            label = f"{self.name}: {info.name}, {kind} frame {frame}"
            if (_text(record["video"]), int(record["frame"])) != (info.name, frame):
                raise UserError(f"{label}: out of order; prepare the set again")
            return record[kind], label

        return self._decode(fetch, places, video, window)


def _text(value):
    return value.decode() if isinstance(value, bytes) else str(value)
