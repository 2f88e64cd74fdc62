"""Datasets as folders of frames: which layout they have, which frames form pairs."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from mtujax.common.files import FRAME_SUFFIXES, natural_key
from mtujax.data.datasets import (
    FLAT_FOLDERS,
    PAIR_FOLDERS,
    SPLITS,
    Dataset,
    Part,
    config_of,
    dataset,
    flat_part,
)
from mtujax.errors import UserError

KINDS = ("blurry", "sharp")


@dataclasses.dataclass(frozen=True)
class FolderVideo:
    """The frames of one video."""

    split: str  # that it belongs to
    name: str  # of its folder
    blurry: Path  # folder of blurry frames
    sharp: Path  # folder of sharp frames
    # File names (blurry, sharp) in order; a pair has one stem
    pairs: tuple[tuple[str, str], ...]
    lone: tuple[str, ...]  # names of the frames without a partner
    # A message for each of them, or for a folder without frames
    unpaired: tuple[str, ...]
    # Of the names of its frames, where the folders hold other videos, too
    begin: str = ""

    @property
    def label(self) -> str:
        """Split and name, for messages."""
        return f"{self.split}/{self.name}"

    def paths(self, frame: int) -> tuple[Path, Path]:
        """Blurry and sharp file of the pair at this position, from 0."""
        blurry, sharp = self.pairs[frame]
        return self.blurry / blurry, self.sharp / sharp


@dataclasses.dataclass(frozen=True)
class FolderSet:
    """A dataset found in a folder."""

    dataset: Dataset  # its description
    config: str | None  # its form, or None
    root: Path  # the folder given
    layout: str  # its name, for messages
    videos: tuple[FolderVideo, ...]  # split after split, by name within each
    # Folders next to the videos that hold no frames of this set
    strays: tuple[Path, ...]

    @property
    def label(self) -> str:
        """Name and config, such as `gopro/blur_gamma`."""
        return _label(self.dataset, self.config)

    @property
    def splits(self) -> dict[str, tuple[FolderVideo, ...]]:
        """Videos by split, in order."""
        names = dict.fromkeys(video.split for video in self.videos)
        return {n: tuple(v for v in self.videos if v.split == n) for n in names}

    @property
    def frames(self) -> int:
        """Number of pairs."""
        return sum(len(video.pairs) for video in self.videos)


def find(name: str, root: str | os.PathLike, config: str | None = None) -> FolderSet:
    """Finds a dataset's frames in its archive's folders; UserError without any."""
    chosen = dataset(name)
    config = config_of(chosen, config)
    root = Path(root)
    if not root.exists():
        raise UserError(f"{root}: no such folder; {chosen.instructions}")
    if not root.is_dir():
        raise UserError(f"{root}: is a file; give the folder that holds {chosen.name}")
    if not any(root.iterdir()):
        raise UserError(f"{root}: this folder is empty; {chosen.instructions}")
    found = _find(chosen, root, config)
    if found is None or not found.frames:
        for other in chosen.configs:
            if (there := _find(chosen, root, other)) and there.frames:
                raise UserError(
                    f"{root}: holds {there.label}, not {_label(chosen, config)}; add "
                    f"--config {other}"
                )
    if found is None:
        raise UserError(_not_found(chosen, root, config))
    return found


def _find(chosen, root, config):
    """The first layout with pairs, else the first with any video, else None."""
    first = None
    for base in _bases(chosen, root, config):
        for layout, parts in (chosen.layouts or _own_layout(base)).items():
            parts = [_with_config(part, config) for part in parts]
            videos = tuple(video for part in parts for video in _videos(base, part))
            if not videos:
                continue
            strays = _strays(base, parts, videos)
            found = FolderSet(chosen, config, root, layout, videos, strays)
            if found.frames:
                return found
            first = first or found
    return first


def _bases(chosen, root, config):
    """Folders where a layout may start."""
    yield from (root / prefix for prefix in chosen.prefixes)
    # The folder given may be the first one of the layout itself, such as BSD_1ms8ms.
    tops = (p.blurry.split("/")[0] for way in chosen.layouts.values() for p in way)
    if root.resolve().name in {top.replace("{config}", config or "") for top in tops}:
        yield root.resolve().parent


def _with_config(part, config):
    def fill(text):
        return text.replace("{config}", config or "")

    return dataclasses.replace(part, blurry=fill(part.blurry), sharp=fill(part.sharp))


def _videos(base, part) -> Iterator[FolderVideo]:
    names = _names(base, part.blurry) | _names(base, part.sharp)
    if part.only is not None:
        names &= part.only
    for name in sorted(names - part.but, key=natural_key):
        places = [_place(base, pattern, name) for pattern in (part.blurry, part.sharp)]
        yield _paired(part.split, name, *places)


def _names(base, pattern):
    """Names of videos for which a folder, or frames, of this pattern exist."""
    before, _, after = pattern.partition("{video}")
    folder = base / before
    if not folder.is_dir():
        return set()
    if _is_flat(after):
        split = (stem.rpartition(after) for stem in frame_files(folder))
        return {name for name, _, number in split if name and number.isdecimal()}
    return {p.name for p in _folders(folder) if Path(f"{p}{after}").is_dir()}


def _is_flat(after):
    """Whether what follows a video's name is the rest of a file's name."""
    return bool(after) and not after.startswith("/")


def _place(base, pattern, name):
    """The folder of a video's frames, and how their names begin."""
    after = pattern.partition("{video}")[2]
    if _is_flat(after):
        return base / os.path.dirname(pattern), f"{name}{after}"
    return base / pattern.replace("{video}", name), ""


def _folders(folder):
    return [p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")]


def _paired(split, name, *places):
    frames = [frame_files(*place) for place in places]
    (blurry, begin), (sharp, _) = places
    both = sorted(frames[0].keys() & frames[1].keys(), key=natural_key)
    lone, unpaired = [], []
    for (here, there), (mine, other) in zip(
        ((blurry, sharp), (sharp, blurry)), (frames, frames[::-1]), strict=True
    ):
        stems = sorted(mine.keys() - other.keys(), key=natural_key)
        lone += [mine[stem] for stem in stems]
        if other:
            unpaired += [f"{here / mine[s]}: has no partner in {there}" for s in stems]
        elif mine:
            unpaired.append(f"{there}: has no frames, but {here} has {len(mine)}")
    if not frames[0] and not frames[1]:
        unpaired.append(f"{blurry}: has no PNG or JPEG frames")
    pairs = tuple((frames[0][stem], frames[1][stem]) for stem in both)
    found = pairs, tuple(lone), tuple(unpaired), begin
    return FolderVideo(split, name, blurry, sharp, *found)


def frame_files(folder: Path, start: str = "") -> dict[str, str]:
    """{stem: file name} of a folder's images; with `start`, of those it numbers."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith(".")]
    split = [os.path.splitext(name) for name in names if name.startswith(start)]
    if start:  # the names of another video may begin so, too: "a-" and "a-b-"
        split = [(s, x) for s, x in split if s.removeprefix(start).isdecimal()]
    return {s: s + x for s, x in split if x.lower() in FRAME_SUFFIXES}


def _strays(base, parts, videos):
    """Folders next to a split's videos that are no videos, such as a misspelt one."""
    parents = {part.blurry.partition("{video}")[0] for part in parts}
    others = [
        p
        for parent in parents
        if (base / parent).is_dir()
        for p in _folders(base / parent)
    ]
    used = {video.blurry for video in videos} | {video.sharp for video in videos}
    used |= {parent for path in used for parent in path.parents}
    return tuple(sorted(p for p in others if p not in used))


def _own_layout(base):
    """The layout of users' own pairs: videos, or splits of videos."""
    places = [("train", "")] + [(p.name, f"{p.name}/") for p in _sorted(base)]
    parts = [part for split, place in places for part in _own_parts(base, split, place)]
    loose = [part for part in parts if part.blurry.startswith("{")]
    if loose and loose != parts:
        video, split = min(loose[0].only), parts[-1].split
        raise UserError(
            f"{base}: holds videos ({video}) next to splits ({split}); use one or other"
        )
    return {"pairs": parts}


def _own_parts(base, split, place):
    if _holds_flat_pairs(base / place, split):
        yield flat_part(split, place)
        return
    by_names = {}
    for folder in _sorted(base / place):
        if not place and _holds_flat_pairs(folder, folder.name):
            continue  # a split
        if names := _pair_folders(folder):
            by_names.setdefault(names, set()).add(folder.name)
    for (blurry, sharp), videos in by_names.items():
        pattern = f"{place}{{video}}"
        yield Part(
            split, f"{pattern}/{blurry}", f"{pattern}/{sharp}", frozenset(videos)
        )


def _holds_flat_pairs(folder, split):
    """Whether a folder holds the frames of several videos, or of one as a split."""
    if not all((folder / name).is_dir() for name in FLAT_FOLDERS):
        return False
    stems = [stem.rpartition("-") for stem in frame_files(folder / FLAT_FOLDERS[0])]
    videos = {video for video, _, number in stems if number.isdecimal()}
    return "" not in videos and len(videos) > (split not in SPLITS)


def _sorted(folder):
    return sorted(_folders(folder), key=lambda path: natural_key(path.name))


def _pair_folders(folder):
    """Names of a video's two folders, one of which may be missing; None if both are."""
    for needed in (all, any):
        for names in PAIR_FOLDERS:
            if needed((folder / name).is_dir() for name in names):
                return names
    return None


def _label(chosen, config):
    return "/".join(filter(None, (chosen.name, config)))


def _not_found(chosen, root, config):
    if any("lmdb" in path.name for path in root.iterdir()):
        return f"{root}: an LMDB is not read; unpack the images: {chosen.instructions}"
    label = _label(chosen, config)
    if any((root / label).glob("*/*.json")):
        return f"{root}: holds {label} as prepared; check the folder it was made from"
    return f"{root}: does not hold {label}; {chosen.instructions}"
