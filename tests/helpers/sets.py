"""Datasets made small: the real folder structure, filled with synthetic frames."""

import dataclasses
import os

import cv2
import numpy as np

from mtujax.data.datasets import dataset

GOPRO = {
    "train": {"GOPR0372_07_00": 5, "GOPR0374_11_03": 4},
    "test": {"GOPR0862_11_00": 4},
}
DVD = {"train": {"720p_240fps_1": 4, "IMG_0051": 5}, "test": {"720p_240fps_2": 4}}
REDS = {"train": {"000": 4, "239": 5}, "test": {"029": 4}}
BSD = {"train": {"001": 4, "110": 5}, "valid": {"003": 4}, "test": {"006": 6}}
OWN = {"train": {"kitchen": 4, "my street": 5}, "test": {"garden": 4}}
LOOSE = {"train": {"kitchen": 4, "my street": 5}}


@dataclasses.dataclass(frozen=True)
class Form:
    """A dataset in one of its layouts; `{split}` in folders as that layout names it."""

    name: str
    config: str | None
    blurry: str
    sharp: str
    lengths: dict
    start: int = 0
    digits: int = 8
    suffix: str = ".png"
    splits: dict = dataclasses.field(default_factory=dict)
    begin: str = ""  # of every file's name

    def folders(self, root, split, video):
        names = {"split": self.splits.get(split, split), "video": video}
        return [root / pattern.format(**names) for pattern in (self.blurry, self.sharp)]

    def files(self, count, video=""):
        begin = self.begin.format(video=video)
        numbers = range(self.start, self.start + count)
        return [f"{begin}{n:0{self.digits}d}{self.suffix}" for n in numbers]


_GOPRO = {"start": 47, "digits": 6, "lengths": GOPRO}
_DVD = {"digits": 5, "suffix": ".jpg", "lengths": DVD}
_BSD = "BSD/BSD_3ms24ms/{split}/{video}"
FORMS = {
    "gopro": Form(
        "gopro",
        "blur_gamma",
        "GOPRO_Large/{split}/{video}/blur_gamma",
        "GOPRO_Large/{split}/{video}/sharp",
        **_GOPRO,
    ),
    "gopro linear": Form(
        "gopro", "blur", "{split}/{video}/blur", "{split}/{video}/sharp", **_GOPRO
    ),
    "gopro rearranged": Form(
        "gopro",
        "blur_gamma",
        "{split}_nah/{video}/blur_gamma",
        "{split}_nah/{video}/sharp",
        **_GOPRO,
    ),
    "gopro flat": Form(
        "gopro",
        "blur_gamma",
        "{split}/input",
        "{split}/target",
        begin="{video}-",
        **_GOPRO,
    ),
    "gopro flat among others": Form(
        "gopro",
        "blur_gamma",
        "Datasets/{split}/GoPro/input",
        "Datasets/{split}/GoPro/target",
        begin="{video}-",
        **_GOPRO,
    ),
    "dvd": Form(
        "dvd",
        None,
        "DeepVideoDeblurring_Dataset/quantitative_datasets/{video}/input",
        "DeepVideoDeblurring_Dataset/quantitative_datasets/{video}/GT",
        **_DVD,
    ),
    "dvd rearranged": Form(
        "dvd", None, "{split}_DVD/{video}/input", "{split}_DVD/{video}/GT", **_DVD
    ),
    "reds": Form(
        "reds",
        None,
        "{split}/{split}_blur/{video}",
        "{split}/{split}_sharp/{video}",
        REDS,
        splits={"test": "val"},
    ),
    "reds flat": Form(
        "reds",
        None,
        "REDS/{split}_blur/{video}",
        "REDS/{split}_sharp/{video}",
        REDS,
        splits={"test": "val"},
    ),
    "bsd": Form("bsd", "3ms24ms", f"{_BSD}/Blur/RGB", f"{_BSD}/Sharp/RGB", BSD),
    "pairs": Form(
        "pairs", "default", "{split}/{video}/blur", "{split}/{video}/sharp", OWN
    ),
    "pairs without splits": Form(
        "pairs", "default", "{video}/blur", "{video}/sharp", LOOSE, suffix=".jpg"
    ),
    "pairs flat": Form(
        "pairs", "default", "{split}/input", "{split}/target", OWN, begin="{video}-"
    ),
    "pairs flat without splits": Form(
        "pairs", "default", "input", "target", LOOSE, begin="{video}-"
    ),
}


def make(root, form, *, size=(24, 32)):
    """Fills a folder; every frame differs from every other."""
    rng = np.random.default_rng(0)
    for split, videos in form.lengths.items():
        for video, count in videos.items():
            for folder in form.folders(root, split, video):
                folder.mkdir(parents=True, exist_ok=True)
                for name in form.files(count, video):
                    write(folder / name, rng.integers(0, 256, (*size, 3), np.uint8))
    return root


def write(path, image):
    assert cv2.imwrite(str(path), image)


def rgb(path):
    """What a frame's file holds, read by OpenCV alone."""
    return cv2.imread(str(path))[..., ::-1]


def pair(root, form, split, video, frame):
    """The two files of a pair."""
    name = form.files(frame + 1, video)[-1]
    return [folder / name for folder in form.folders(root, split, video)]


def make_whole(root, form):
    """The published set in full, of one-pixel frames: links keep it light."""
    pixel, shared = root / f"pixel{form.suffix}", {}
    root.mkdir(exist_ok=True)
    write(pixel, np.zeros((1, 1, 3), np.uint8))
    for split, known in dataset(form.name).known.items():
        lengths = known.lengths or {f"{n:03d}": known.each for n in range(known.videos)}
        for video, count in lengths.items():
            if form.begin:
                for folder in form.folders(root, split, video):
                    folder.mkdir(parents=True, exist_ok=True)
                    for name in form.files(count, video):
                        os.link(pixel, folder / name)
                continue
            if count not in shared:
                shared[count] = root / f".{count}"
                shared[count].mkdir()
                for name in form.files(count):
                    os.link(pixel, shared[count] / name)
            for folder in form.folders(root, split, video):
                folder.parent.mkdir(parents=True, exist_ok=True)
                folder.symlink_to(shared[count])
    pixel.unlink()
    return root
