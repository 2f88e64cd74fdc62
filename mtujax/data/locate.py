"""Where the frames and the motion of a dataset are."""

import os
from pathlib import Path

from mtujax.common.files import digest
from mtujax.data.array_cache import CachedFrames, is_cache
from mtujax.data.datasets import config_of, dataset
from mtujax.data.flow import SUFFIXES, FlowFiles
from mtujax.data.flow_cache import kept_motion
from mtujax.data.folders import FolderVideo, find
from mtujax.data.frames import FolderFrames, FrameSource, RecordFrames, default_output
from mtujax.errors import UserError


class NoMotion(UserError):
    """No motion of a split is stored."""


def flow_folder(
    name: str,
    path: str | os.PathLike,
    *,
    config: str | None = None,
    output: str | os.PathLike | None = None,
) -> Path:
    """Says where the motion of a dataset is stored, with a folder for each split.

    Examples:
        >>> flow_folder("gopro", "SETS/gopro", output="SETS").as_posix()
        'SETS/gopro/blur_gamma/flow'

    Args:
        name: of the dataset.
        path: folder that holds it.
        config: form of the dataset; None takes the default.
        output: folder for sets; None takes that of the set where it is prepared, else
            TFDS's own, with a separate folder for own pairs from each path.

    Returns:
        The folder, which need not exist.
    """
    path, label = Path(path), [name, config_of(dataset(name), config)]
    place = Path(*filter(None, label), "flow")
    if output is not None:
        return Path(output) / place
    if is_cache(path):
        return path.parent / "flow"
    if (path / place).parent.is_dir():  # prepared
        return path / place
    if name == "pairs":  # several sets may have the same names
        where = digest(os.fsencode(path.resolve()))
        place = place.with_name(f"flow-{where[:8]}")
    return default_output() / place


def open_motion(
    name: str,
    path: str | os.PathLike,
    source: FrameSource,
    *,
    split: str,
    config: str | None = None,
    folder: str | os.PathLike | None = None,
) -> FlowFiles:
    """Opens the stored motion of a split.

    Examples:
        >>> frames = open_frames("pairs", "set", split="train")
        >>> motion = open_motion("pairs", "set", frames, split="train")
        >>> flow, valid = motion.motion(video=0, frame=1)
        >>> flow.shape
        (48, 64, 2)

    Args:
        name: of the dataset.
        path: its folder, in any form that `open_frames` reads.
        source: its frames, as returned by `open_frames`.
        split: which part of it.
        config: its form; None takes the default.
        folder: holds `SPLIT/VIDEO/*.npz` or `.flo`; None takes the folder `flow` next
            to the frames of each video, with the frames' names, else `flow_folder`.

    Returns:
        A `MotionSource`.

    Raises:
        NoMotion: if there is none.
        UserError: if it is not that of these frames, or incomplete.
        UsageError: for an unknown name or config.
    """
    if folder is None and not is_cache(Path(path)):
        beside = _beside(name, path, source, split, config)
        if beside:
            return FlowFiles(f"motion next to {source.name}", source.videos, *beside)
    advice = f"`mtujax data flow {name} {path} --split {split}` computes it"
    place = Path(folder or flow_folder(name, path, config=config)) / split
    if not place.is_dir():
        what = "is a file" if place.exists() else "no such folder"
        error = UserError if place.exists() else NoMotion
        raise error(f"{place}: {what}; of the motion of {source.name}, {advice}")
    if kept := kept_motion(place, source, advice=advice):
        return kept
    folders = [place / video.name for video in source.videos]
    return FlowFiles(f"motion in {place}", source.videos, folders)


def _beside(name, path, source, split, config):
    """Folders `flow` next to plain folders of frames, with their stems, or None."""
    path = Path(path)
    if (flow_folder(name, path, config=config, output=path).parent).is_dir():
        return None  # prepared: names of frames are unknown
    videos = find(name, path, config).splits.get(split, ())
    folders = [flow_beside(video) for video in videos]
    if not any(map(holds_flow, folders)):
        return None
    if [v.name for v in videos] != [v.name for v in source.videos]:
        raise UserError(f"{path}: its videos are not those of {source.name}")
    stems = [[Path(sharp).stem for _, sharp in video.pairs] for video in videos]
    return folders, stems


def flow_beside(video: FolderVideo) -> Path:
    """VIDEO/flow, or flow/VIDEO where the videos are in folders of one kind (REDS)."""
    common = Path(os.path.commonpath([video.blurry, video.sharp]))
    return common / "flow" / ("" if common.name == video.name else video.name)


def holds_flow(folder: Path) -> bool:
    """Whether a folder exists and has a file of motion."""
    return folder.is_dir() and any(p.suffix in SUFFIXES for p in folder.iterdir())


def open_frames(
    name: str,
    path: str | os.PathLike,
    *,
    split: str,
    config: str | None = None,
    threads: int | None = None,
) -> FrameSource:
    """Opens the frames of a split, in whichever form they are stored.

    Examples:
        >>> frames = open_frames("pairs", "set", split="train")
        >>> len(frames.videos), frames.videos[0].width
        (1, 64)

    Args:
        name: of the dataset.
        path: its folder as unpacked, or the output folder of `data prepare`, where a
            decoded copy is preferred to records.
        split: which part of it.
        config: its form; None takes the default.
        threads: that decode in parallel; None takes one for each core.

    Returns:
        The frames.

    Raises:
        UserError: if nothing usable is there, or it has no such split.
        UsageError: for an unknown name or config.
    """
    path = Path(path)
    config = config_of(dataset(name), config)
    label = "/".join(filter(None, (name, config)))
    for folder in (path, path / label / "raw"):
        if is_cache(folder):
            return CachedFrames(folder, split=split, label=label)
    options = {"split": split, "config": config, "threads": threads}
    if any((path / label).glob("*/dataset_info.json")):
        return RecordFrames(name, path, **options)
    return FolderFrames(name, path, **options)
