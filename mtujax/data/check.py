"""Is a dataset's folder complete? Compares it with the published set, file by file."""

import dataclasses
import functools
import os
import re
from collections.abc import Callable, Container

import numpy as np

from mtujax.common.text import counted, listed
from mtujax.common.threads import default_threads, in_order
from mtujax.data.folders import FolderSet, FolderVideo, find
from mtujax.errors import UserError
from mtujax.video.image_files import read_image

_NAMED = 100  # damaged frames that are named; of more, only their number is said


@dataclasses.dataclass(frozen=True)
class Row:
    """A split in the summary; `sizes` counts its videos by frame size ("1280x720")."""

    split: str
    videos: int
    pairs: int
    sizes: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Report:
    """What a check found."""

    found: FolderSet  # the set
    rows: tuple[Row, ...]  # one for each split
    # Differences from the published set, and gaps: usable, but incomplete
    missing: tuple[str, ...]
    broken: tuple[str, ...]  # what no training or evaluation could use
    notes: tuple[str, ...]  # worth knowing, but not wrong

    @property
    def findings(self) -> tuple[str, ...]:
        """All that is wrong: what is broken first, then what is missing."""
        return self.broken + self.missing

    def refuse(self, *, partial: bool = False) -> None:
        """Raises a UserError if anything is wrong; `partial` accepts missing parts."""
        findings = self.broken if partial else self.findings
        if findings:
            count = counted(len(findings), "finding")
            advice = "" if self.broken else "; --partial accepts it"
            raise UserError(
                f"{self.found.root}: {count} in {self.found.label}: "
                f"{listed(findings, between='; ')}{advice}"
            )


def check_dataset(
    name: str,
    root: str | os.PathLike,
    *,
    config: str | None = None,
    splits: Container[str] | None = None,
    quick: bool = False,
    threads: int | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Report:
    """Compares a folder with the published dataset and reads every image in it.

    Examples:
        >>> report = check_dataset("pairs", "set")
        >>> [(row.split, row.pairs) for row in report.rows]
        [('test', 6), ('train', 6)]
        >>> report.findings
        ()

    Args:
        name: of the dataset.
        root: the folder.
        config: form of the dataset; None takes the default.
        splits: that are compared with the published ones; None for all.
        quick: check names, counts and file sizes, and decode only the first pair of
            each video.
        threads: that decode in parallel; None takes one for each core.
        progress: called with the frames read (blurry and sharp) and their total.

    Returns:
        The set, its splits and all findings.

    Raises:
        UserError: if the folder does not hold this dataset at all.
        UsageError: for an unknown name or config.
    """
    found = find(name, root, config)
    broken = [line for video in found.videos for line in video.unpaired]
    threads = threads or default_threads()
    damaged = []  # but decoded
    sizes, unreadable = _read_all(found, quick, threads, progress, damaged.append)
    notes = [f"left out, as no frames are in it: {path}" for path in found.strays]
    if damaged:
        names = listed(sorted(map(str, damaged)), _NAMED)
        notes.append(f"damaged, decoded as far as that went: {names}")
    return Report(
        found=found,
        rows=tuple(_rows(found, sizes)),
        missing=tuple(_differences(found, splits)),
        broken=tuple(broken + unreadable),
        notes=tuple(notes),
    )


def _rows(found, sizes):
    for split, videos in found.splits.items():
        counts = {}
        for video in videos:
            if (size := sizes.get(video.label)) is not None:
                text = f"{size[1]}x{size[0]}"
                counts[text] = counts.get(text, 0) + 1
        pairs = sum(len(video.pairs) for video in videos)
        yield Row(split, len(videos), pairs, counts)


def _read_all(found, quick, threads, progress, on_damage):
    """Sizes (rows, columns) by video, and a line for each unusable frame."""
    jobs = [(video, n) for video in found.videos for n in range(len(video.pairs))]
    read = functools.partial(_read, quick=quick, on_damage=on_damage)
    results = in_order(lambda job: read(*job), jobs, threads=threads)
    sizes, findings = {}, []
    for done, ((video, n), (size, wrong)) in enumerate(
        zip(jobs, results, strict=True), 1
    ):
        findings += wrong
        if size is not None:
            first = sizes.setdefault(video.label, size)
            if size != first:
                findings.append(
                    f"{video.paths(n)[0]}: is {size[1]}x{size[0]}, but the frames "
                    f"before it are {first[1]}x{first[0]}"
                )
        if progress:
            progress(2 * done, 2 * len(jobs))
    return sizes, findings


def _read(video, n, *, quick, on_damage):
    """Size of a pair, or None, and findings; if `quick`, decodes only the first."""
    paths, shapes, findings = video.paths(n), [], []
    if quick:
        findings = [f"{path}: empty file" for path in paths if not path.stat().st_size]
        if n or findings:
            return None, findings
    for path in paths:
        try:
            shapes.append(read_image(path, on_damage=on_damage).shape[:2])
        except UserError as error:
            findings.append(str(error))
        except OSError as error:
            findings.append(f"{error.filename}: {error.strerror}")
    if len(shapes) == 2 and shapes[0] != shapes[1]:
        (rows, columns), (sharp_rows, sharp_columns) = shapes
        findings.append(
            f"{video.paths(n)[0]}: is {columns}x{rows}, but its sharp frame is "
            f"{sharp_columns}x{sharp_rows}"
        )
    return (shapes[0] if shapes and not findings else None), findings


def _differences(found, splits):
    """Lines on how a set differs from the published one; for own sets, on gaps."""
    for split, known in found.dataset.known.items():
        if splits is not None and split not in splits:
            continue
        videos = {video.name: video for video in found.splits.get(split, ())}
        if not videos:
            yield f"split {split}: missing, all {known.videos} videos of it"
        else:
            yield from _split_differences(split, known, videos)
    if not found.dataset.known:
        for video in found.videos:
            if gaps := _gaps(video):
                yield f"{video.label}: no frame {listed(gaps, 8)} between others"


def _split_differences(split, known, videos):
    if known.lengths:
        for name in sorted(known.lengths.keys() - videos.keys()):
            yield f"{split}/{name}: missing, a video of {known.lengths[name]} pairs"
        for name in sorted(videos.keys() - known.lengths.keys()):
            yield f"{split}/{name}: extra, no video of the published set"
    elif len(videos) != known.videos:
        yield f"split {split}: has {len(videos)} videos, but {known.videos} are known"
    for name, video in videos.items():
        wanted = (known.lengths or {}).get(name, known.each)
        if wanted is not None and len(video.pairs) != wanted:
            gaps = _gaps(video)
            what = f", without {listed(gaps, 8)}" if gaps else ""
            yield (
                f"{video.label}: {len(video.pairs)} pairs, but {wanted} are known{what}"
            )


def _gaps(video: FolderVideo):
    """Numbers missing among the frames, if their names otherwise count evenly."""
    names = [blurry for blurry, _ in video.pairs] + list(video.lone)
    digits = [re.findall(r"[0-9]+", os.path.splitext(name)[0]) for name in names]
    if not names or not all(digits):
        return []
    numbers = sorted({int(found[-1]) for found in digits})
    steps = np.diff(numbers)
    if not steps.size or (steps % steps.min()).any():
        return []
    return sorted(set(range(numbers[0], numbers[-1], steps.min())) - set(numbers))
