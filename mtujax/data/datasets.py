"""The field's datasets: where their frames are, and how many there are.

A layout says, split by split, in which folders the blurry and the sharp frames of a
video are: as published, and as the paper's authors rearranged them. The published
counts serve to check a copy: a length is the number of pairs (a blurry frame and its
sharp one) of a video.
"""

import dataclasses

from mtujax.errors import UsageError


@dataclasses.dataclass(frozen=True)
class PublishedCounts:
    """What a published split holds."""

    videos: int  # number of videos
    # Pairs of each video by name; None where no list was published
    lengths: dict[str, int] | None = None
    # Pairs of every video where all have the same number, else None
    each: int | None = None


def _listed(text):
    """Counts of `name:pairs` words; a name alone has 100."""
    words = (word.partition(":") for word in text.split())
    lengths = {name: int(pairs or 100) for name, _, pairs in words}
    return PublishedCounts(len(lengths), lengths)


def _numbered(videos, each):
    lengths = {f"{n:03d}": each for n in range(videos)}
    return PublishedCounts(videos, lengths, each)


GOPRO_COUNTS = {
    "train": _listed(
        "GOPR0372_07_00 GOPR0372_07_01:75 GOPR0374_11_00:150 GOPR0374_11_01:80 "
        "GOPR0374_11_02 GOPR0374_11_03:48 GOPR0378_13_00:110 GOPR0379_11_00 "
        "GOPR0380_11_00:60 GOPR0384_11_01 GOPR0384_11_02 GOPR0384_11_03 GOPR0384_11_04 "
        "GOPR0385_11_00 GOPR0386_11_00 GOPR0477_11_00:80 GOPR0857_11_00 GOPR0868_11_01 "
        "GOPR0868_11_02 GOPR0871_11_01 GOPR0881_11_00 GOPR0884_11_00"
    ),
    "test": _listed(
        "GOPR0384_11_00 GOPR0384_11_05 GOPR0385_11_01 GOPR0396_11_00 "
        "GOPR0410_11_00:134 GOPR0854_11_00 GOPR0862_11_00:77 GOPR0868_11_00 "
        "GOPR0869_11_00 GOPR0871_11_00 GOPR0881_11_01"
    ),
}

DVD_COUNTS = {
    "train": _listed(
        "720p_240fps_1 720p_240fps_3 720p_240fps_5 720p_240fps_6 C0036:63 C0041:229 "
        "GOPR9633:35 GOPR9636:48 GOPR9641:137 GOPR9642:83 GOPR9643:97 GOPR9645:65 "
        "GOPR9648:88 GOPR9652:71 IMG_0001 IMG_0004 IMG_0005 IMG_0008 IMG_0009:41 "
        "IMG_0010 IMG_0011 IMG_0012 IMG_0013 IMG_0014 IMG_0015 IMG_0017 IMG_0019 "
        "IMG_0022 IMG_0023 IMG_0024 IMG_0025 IMG_0026 IMG_0028 IMG_0029 IMG_0034 "
        "IMG_0035 IMG_0036 IMG_0038 IMG_0040 IMG_0041 IMG_0042 IMG_0043 IMG_0044 "
        "IMG_0045:61 IMG_0046 IMG_0047 IMG_0051 IMG_0053 IMG_0054 IMG_0055 IMG_0056 "
        "IMG_0058 IMG_0150:50 IMG_0151:60 IMG_0153:120 IMG_0155:78 IMG_0164:46 "
        "IMG_0173:70 IMG_0180:50 IMG_0183:113 IMG_0200:103"
    ),
    "test": _listed(  # in the order of its author's numbers 1 to 10
        "IMG_0030 IMG_0049 IMG_0021 720p_240fps_2 IMG_0032 IMG_0033 IMG_0031 IMG_0003 "
        "IMG_0039 IMG_0037"
    ),
}


@dataclasses.dataclass(frozen=True)
class Part:
    """The folders of one split; `{video}` and `{config}` stand for names."""

    split: str  # its name
    # Folder of a video's blurry frames. As `train/input/{video}-`, one folder holds all
    # videos, whose frames' names begin so.
    blurry: str
    sharp: str  # folder of a video's sharp frames
    # Its videos, where one folder holds several splits; None takes all
    only: frozenset[str] | None = None
    but: frozenset[str] = frozenset()  # videos that belong to another split


FLAT_FOLDERS = ("input", "target")


def flat_part(split: str, place: str) -> Part:
    """The part whose videos share two folders; `place` is "" or ends in a slash."""
    return Part(split, *(f"{place}{name}/{{video}}-" for name in FLAT_FOLDERS))


def _parts(blurry, sharp, *, test="test", **others):
    """A part for train, test and others; `{split}` stands for its folder."""
    folders = {"train": "train", **others, "test": test}
    return tuple(
        Part(split, *(p.replace("{split}", folder) for p in (blurry, sharp)))
        for split, folder in folders.items()
    )


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A dataset of the field."""

    name: str  # as in commands
    title: str  # one line of description
    homepage: str  # where it is described
    instructions: str  # one line: where to get it, and the folders it then has
    # Ways to arrange it on disk, by a name for messages; empty for `pairs`, found from
    # its folders
    layouts: dict[str, tuple[Part, ...]] = dataclasses.field(default_factory=dict)
    # {name: description}, the default first; empty if it has one form
    configs: dict[str, str] = dataclasses.field(default_factory=dict)
    prefixes: tuple[str, ...] = ("",)  # folders that its archives put around a layout
    # What each split holds; empty for users' own sets
    known: dict[str, PublishedCounts] = dataclasses.field(default_factory=dict)
    # Of its files, "png" or "jpeg"; None if both occur
    image_format: str | None = "png"


GOPRO = Dataset(
    name="gopro",
    title="GoPro of Nah et al. 2017: 33 videos, 1280x720, frames at 240 fps averaged",
    homepage="https://seungjunnah.github.io/Datasets/gopro",
    instructions="unzip GOPRO_Large.zip "
    "(https://seungjunnah.github.io/Datasets/gopro), which holds "
    "{train,test}/VIDEO/{blur,blur_gamma,sharp}/000001.png, or run `mtujax fetch "
    "gopro --to DIR`, which makes {train_nah,test_nah}/VIDEO/{blur_gamma,sharp}; flat "
    "{train,test}/{input,target}/VIDEO-000001.png are read as well",
    layouts={
        "as published": _parts("{split}/{video}/{config}", "{split}/{video}/sharp"),
        "as the paper's authors rearranged it": _parts(
            "{split}_nah/{video}/{config}", "{split}_nah/{video}/sharp"
        ),
        "as flat pairs": tuple(flat_part(s, f"{s}/") for s in ("train", "test")),
        "as flat pairs, next to those of other sets": tuple(
            flat_part(s, f"{s}/GoPro/") for s in ("train", "test")
        ),
    },
    configs={
        "blur_gamma": "gamma 2.2 camera response; its author says to use this one",
        "blur": "linear mean of frames",
    },
    prefixes=("", "GOPRO_Large", "GoPro", "Datasets"),
    known=GOPRO_COUNTS,
)


_DVD_FOLDERS = [f"quantitative_datasets/{{video}}/{n}" for n in ("input", "GT")]
_DVD_TEST = frozenset(DVD_COUNTS["test"].lengths)
DVD = Dataset(
    name="dvd",
    title="DVD of Su et al. 2017: 71 videos, mostly 1280x720, JPEG",
    homepage="https://github.com/shuochsu/DeepVideoDeblurring",
    instructions="unzip http://www.cs.ubc.ca/labs/imager/tr/2017/DeepVideoDeblurring/"
    "DeepVideoDeblurring_Dataset.zip, "
    "which holds quantitative_datasets/VIDEO/{input,GT}/00000.jpg, or run `mtujax "
    "fetch dvd --to DIR`, which makes {train_DVD,test_DVD}/VIDEO/{input,GT}",
    layouts={
        "as published": (
            Part("train", *_DVD_FOLDERS, but=_DVD_TEST),
            Part("test", *_DVD_FOLDERS, only=_DVD_TEST),
        ),
        "as the paper's authors rearranged it": _parts(
            "{split}_DVD/{video}/input", "{split}_DVD/{video}/GT"
        ),
    },
    prefixes=("", "DeepVideoDeblurring_Dataset"),
    known=DVD_COUNTS,
    image_format="jpeg",
)


REDS = Dataset(
    name="reds",
    title="REDS of Nah et al. 2019: 270 videos, 1280x720; its val is our test",
    homepage="https://seungjunnah.github.io/Datasets/reds",
    instructions="unzip train_blur, train_sharp, val_blur and val_sharp (.zip, "
    "https://seungjunnah.github.io/Datasets/reds) in one folder: "
    "train/{train_blur,train_sharp}/000/00000000.png and "
    "val/{val_blur,val_sharp}/000/00000000.png, or the same without train/ and val/; "
    "val is the split test here, whose own sharp frames are not public",
    layouts={
        "as published": _parts(
            "{split}/{split}_blur/{video}", "{split}/{split}_sharp/{video}", test="val"
        ),
        "without the outer folders": _parts(
            "{split}_blur/{video}", "{split}_sharp/{video}", test="val"
        ),
    },
    prefixes=("", "REDS"),
    known={"train": _numbered(240, 100), "test": _numbered(30, 100)},
)


BSD = Dataset(
    name="bsd",
    title="BSD of Zhong et al. (ESTRNN): 100 videos by a beam splitter, 640x480",
    homepage="https://github.com/zzh-tech/ESTRNN",
    instructions="unzip BSD (https://github.com/zzh-tech/ESTRNN), which holds "
    "BSD_{1ms8ms,2ms16ms,3ms24ms}/{train,valid,test}/VIDEO/{Blur,Sharp}/RGB/*.png",
    layouts={
        "as published": _parts(
            "BSD_{config}/{split}/{video}/Blur/RGB",
            "BSD_{config}/{split}/{video}/Sharp/RGB",
            valid="valid",
        ),
    },
    configs={
        "1ms8ms": "1 ms sharp and 8 ms blurry exposure",
        "2ms16ms": "2 ms sharp and 16 ms blurry exposure",
        "3ms24ms": "3 ms sharp and 24 ms blurry exposure",
    },
    prefixes=("", "BSD"),
    # The names of its videos differ from exposure to exposure.
    known={
        "train": PublishedCounts(60, each=100),
        "valid": PublishedCounts(20, each=100),
        "test": PublishedCounts(20, each=150),
    },
)


PAIRS = Dataset(
    name="pairs",
    title="your own pairs of blurry and sharp frames",
    homepage="",
    instructions="put the frames of each video, PNG or JPEG, into two folders, the "
    "same names in both: ROOT/{train,test,...}/VIDEO/{blur,sharp}/0001.png, or "
    "ROOT/VIDEO/{blur,sharp}/0001.png for the split train; {blurry,sharp}, "
    "{input,GT}, {input,target} and ROOT/SPLIT/{input,target}/VIDEO-0001.png are read "
    "as well",
    image_format=None,
)
PAIR_FOLDERS = (("blur", "sharp"), ("blurry", "sharp"), ("input", "GT"), FLAT_FOLDERS)
SPLITS = ("train", "test", "val", "valid", "validation")


DATASETS = {d.name: d for d in (GOPRO, DVD, REDS, BSD, PAIRS)}


def dataset(name: str) -> Dataset:
    """Finds a dataset by name; a UsageError lists the known ones."""
    if name not in DATASETS:
        raise UsageError(f"{name}: unknown dataset; known are {', '.join(DATASETS)}")
    return DATASETS[name]


def config_of(chosen: Dataset, config: str | None) -> str | None:
    """Name of the config, the default for None; None if there is only one form."""
    if chosen.name == "pairs":  # any name keeps own sets side by side
        config = config or "default"
        if not config.replace("_", "").replace("-", "").isalnum():
            raise UsageError(f"config {config!r}: use letters, digits, - and _")
        return config
    if config is None:
        return next(iter(chosen.configs), None)
    if config not in chosen.configs:
        choices = ", ".join(chosen.configs) or "none"
        raise UsageError(f"{chosen.name}: has no config {config!r}; it has {choices}")
    return config
