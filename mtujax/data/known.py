"""How many videos and frames the published datasets hold, to compare a copy with.

A length is the number of pairs (a blurry frame and its sharp one) of a video.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Known:
    """What a published split holds.

    Attributes:
        videos: their number.
        pairs: pairs of frames in all.
        lengths: pairs of each video by name; None where no list was published.
        each: pairs of every video where all are alike, else None.
    """

    videos: int
    pairs: int
    lengths: dict[str, int] | None = None
    each: int | None = None


def _lengths(text):
    """{name: pairs} from `name:pairs` words; a name alone has 100."""
    words = (word.partition(":") for word in text.split())
    return {name: int(pairs or 100) for name, _, pairs in words}


def _listed(lengths):
    return Known(len(lengths), sum(lengths.values()), lengths=lengths)


def _numbered(videos, each):
    lengths = {f"{n:03d}": each for n in range(videos)}
    return Known(videos, videos * each, lengths=lengths, each=each)


_GOPRO_TRAIN = _lengths(
    "GOPR0372_07_00 GOPR0372_07_01:75 GOPR0374_11_00:150 GOPR0374_11_01:80 "
    "GOPR0374_11_02 GOPR0374_11_03:48 GOPR0378_13_00:110 GOPR0379_11_00 "
    "GOPR0380_11_00:60 GOPR0384_11_01 GOPR0384_11_02 GOPR0384_11_03 GOPR0384_11_04 "
    "GOPR0385_11_00 GOPR0386_11_00 GOPR0477_11_00:80 GOPR0857_11_00 GOPR0868_11_01 "
    "GOPR0868_11_02 GOPR0871_11_01 GOPR0881_11_00 GOPR0884_11_00"
)
_GOPRO_TEST = _lengths(
    "GOPR0384_11_00 GOPR0384_11_05 GOPR0385_11_01 GOPR0396_11_00 GOPR0410_11_00:134 "
    "GOPR0854_11_00 GOPR0862_11_00:77 GOPR0868_11_00 GOPR0869_11_00 GOPR0871_11_00 "
    "GOPR0881_11_01"
)
_DVD_TRAIN = _lengths(
    "720p_240fps_1 720p_240fps_3 720p_240fps_5 720p_240fps_6 C0036:63 C0041:229 "
    "GOPR9633:35 GOPR9636:48 GOPR9641:137 GOPR9642:83 GOPR9643:97 GOPR9645:65 "
    "GOPR9648:88 GOPR9652:71 IMG_0001 IMG_0004 IMG_0005 IMG_0008 IMG_0009:41 IMG_0010 "
    "IMG_0011 IMG_0012 IMG_0013 IMG_0014 IMG_0015 IMG_0017 IMG_0019 IMG_0022 IMG_0023 "
    "IMG_0024 IMG_0025 IMG_0026 IMG_0028 IMG_0029 IMG_0034 IMG_0035 IMG_0036 IMG_0038 "
    "IMG_0040 IMG_0041 IMG_0042 IMG_0043 IMG_0044 IMG_0045:61 IMG_0046 IMG_0047 "
    "IMG_0051 IMG_0053 IMG_0054 IMG_0055 IMG_0056 IMG_0058 IMG_0150:50 IMG_0151:60 "
    "IMG_0153:120 IMG_0155:78 IMG_0164:46 IMG_0173:70 IMG_0180:50 IMG_0183:113 "
    "IMG_0200:103"
)
_DVD_TEST = _lengths(  # in the order of its author's numbers 1 to 10
    "IMG_0030 IMG_0049 IMG_0021 720p_240fps_2 IMG_0032 IMG_0033 IMG_0031 IMG_0003 "
    "IMG_0039 IMG_0037"
)

GOPRO_COUNTS = {"train": _listed(_GOPRO_TRAIN), "test": _listed(_GOPRO_TEST)}
DVD_COUNTS = {"train": _listed(_DVD_TRAIN), "test": _listed(_DVD_TEST)}
REDS_COUNTS = {"train": _numbered(240, 100), "test": _numbered(30, 100)}
# The names of BSD's videos differ from exposure to exposure.
BSD_COUNTS = {
    "train": Known(60, 6000, each=100),
    "valid": Known(20, 2000, each=100),
    "test": Known(20, 3000, each=150),
}
