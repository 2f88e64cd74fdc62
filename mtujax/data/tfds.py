"""Prepared TFDS datasets: a builder by name, and frames read from its records."""

import os
from pathlib import Path

import numpy as np

from mtujax.data.datasets import config_of, dataset
from mtujax.data.frames import DecodedFrames, VideoInfo, no_split
from mtujax.errors import UserError, extra


def builder(
    name: str,
    *,
    config: str | None = None,
    data_dir: str | os.PathLike | None = None,
):
    """The `PairBuilder` of a dataset; None takes TFDS's own folder."""
    config = config_of(dataset(name), config)
    with extra("train"):
        from mtujax.data import builders
    made = getattr(builders, name.capitalize())
    chosen = {"config": made.named(config)} if config is not None else {}
    folder = None if data_dir is None else os.path.abspath(data_dir)
    return made(data_dir=folder, file_format="array_record", **chosen)


def prepared(
    name: str, *, config: str | None = None, data_dir: str | os.PathLike | None = None
):
    """The `PairBuilder` of a prepared set; a UserError if none of this version."""
    made = builder(name, config=config, data_dir=data_dir)
    folder = Path(made.data_dir)
    if made.is_prepared():
        return made
    label = "/".join(folder.parts[len(Path(made.data_dir_root).parts) : -1])
    again = f"`mtujax data prepare {name} FOLDER --output {made.data_dir_root}`"
    if others := versions(folder.parent):
        raise UserError(
            f"{folder.parent}: {label} is prepared as version {others[-1]}, but this "
            f"mtujax reads {folder.name}; {again} --overwrite builds it again"
        )
    raise UserError(f"{made.data_dir_root}: {label} is not prepared; {again} does it")


def versions(folder: Path) -> list[str]:
    """Versions of a set in its folder, which need not exist, oldest first."""
    if not folder.is_dir():
        return []
    found = [p.name for p in folder.iterdir() if (p / "dataset_info.json").is_file()]
    numbers = [n for n in found if all(part.isdigit() for part in n.split("."))]
    return sorted(numbers, key=lambda name: [int(part) for part in name.split(".")])


class RecordFrames(DecodedFrames):
    """Frames from records, as written by `data prepare`."""

    def __init__(
        self,
        name: str,
        data_dir: str | os.PathLike,
        *,
        split: str,
        config: str | None = None,
        threads: int | None = None,
    ):
        """Opens the records; a UserError if nothing is prepared, or no such split."""
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


def default_output() -> Path:
    """Where TFDS keeps its sets: `TFDS_DATA_DIR`, or a folder in the user's home."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
