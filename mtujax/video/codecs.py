"""Codecs and containers that can be written, and their settings.

CRF is a codec's own constant-quality scale: lower values give better, larger files.
"""

import dataclasses
import functools
import platform
from fractions import Fraction
from pathlib import Path

from mtujax.common.text import nearest
from mtujax.errors import UsageError, UserError
from mtujax.video.info import SAMPLINGS, VideoInfo

_X26X = (
    *("ultrafast", "superfast", "veryfast", "faster", "fast"),
    *("medium", "slow", "slower", "veryslow", "placebo"),
)
_TO_8 = tuple(str(n) for n in range(9))
_TO_13 = tuple(str(n) for n in range(14))


PIX_FMTS = {"yuv420p": "4:2:0", "yuv422p": "4:2:2", "yuv444p": "4:4:4"}
"""Pixel formats that can be written, and how they sample colour."""


@dataclasses.dataclass(frozen=True)
class Codec:
    """An encoder and its constant-quality scale."""

    # as the user types it; `encoder` is libav's name, `title` that in messages
    name: str
    encoder: str
    title: str
    crf: float  # default quality, on a scale from `best` to `worst`, its largest value
    worst: float
    preset: str
    # speeds, fastest first where they have names; `preset` is the default
    presets: tuple[str, ...]
    odd: bool = False  # whether 4:2:0 can hold an odd width or height
    full_range: bool = True  # whether it can signal that levels fill 0 to 255
    best: float = 0
    left: bool = True  # whether subsampled chroma is sited on the left of two columns
    # libav's names of the pixel formats it may write, default first
    pix_fmts: tuple[str, ...] = tuple(PIX_FMTS)


@dataclasses.dataclass(frozen=True)
class Container:
    """A file format, by libav's name, and the codecs it may hold, default first."""

    format: str
    codecs: tuple[str, ...]


CODECS = {
    codec.name: codec
    for codec in (
        Codec("h264", "libx264", "H.264", 17, 51, "medium", _X26X),
        Codec("hevc", "libx265", "HEVC", 20, 51, "medium", _X26X),
        Codec("vp9", "libvpx-vp9", "VP9", 24, 63, "4", _TO_8, odd=True, left=False),
        Codec(
            *("av1", "libsvtav1", "AV1", 24, 63, "8", _TO_13),
            odd=True,
            left=False,
            pix_fmts=("yuv420p",),
        ),
        Codec(
            *("mpeg2", "mpeg2video", "MPEG-2", 3, 31, "", ()),
            odd=True,
            full_range=False,
            best=1,
            pix_fmts=("yuv420p", "yuv422p"),
        ),
    )
}
"""Codecs by name."""


_MP4 = Container("mp4", ("h264", "hevc", "vp9", "av1", "mpeg2"))
_MPEG = Container("mpeg", ("mpeg2",))
CONTAINERS = {
    ".mp4": _MP4,
    ".m4v": _MP4,
    ".mov": Container("mov", ("h264", "hevc", "mpeg2")),
    ".mkv": Container("matroska", ("h264", "hevc", "vp9", "av1", "mpeg2")),
    ".webm": Container("webm", ("vp9", "av1")),
    ".mpg": _MPEG,
    ".mpeg": _MPEG,
}
"""Containers by file suffix."""

# ISO/IEC 13818-2, table 6-4: MPEG-2 has no other rates.
MPEG2_RATES = tuple(
    map(Fraction, "24000/1001 24 25 30000/1001 30 50 60000/1001 60".split())
)


@dataclasses.dataclass(frozen=True)
class Encoding:
    """How a video will be written."""

    container: Container
    codec: Codec
    pix_fmt: str  # libav's name of the pixel format
    full_range: bool  # whether levels fill 0 to 255
    options: dict[str, str]
    notes: tuple[str, ...] = ()  # what a viewer should know, one sentence each


def choose(
    suffix: str,
    info: VideoInfo,
    *,
    codec: str | None = None,
    crf: float | None = None,
    preset: str | None = None,
    pix_fmt: str | None = None,
) -> Encoding:
    """Chooses container, codec, pixel format and settings; None takes the default."""
    container = CONTAINERS.get(suffix.lower())
    if container is None:
        raise UsageError(
            f"{suffix}: not a video format that can be written; one of "
            f"{', '.join(CONTAINERS)}"
        )
    chosen = _codec(container, suffix, codec)
    options = _options(chosen, _quality(chosen, crf), _speed(chosen, preset))
    if chosen.name == "mpeg2" and info.rate not in MPEG2_RATES:
        rates = ", ".join(f"{float(r):.5g}" for r in MPEG2_RATES)
        raise UserError(
            f"MPEG-2 has no {float(info.rate):.5g} frames/s (only {rates}): "
            "write .mp4 or .mkv"
        )
    full = info.full_range and chosen.full_range
    pix_fmt = _pix_fmt(chosen, info, pix_fmt)
    notes = tuple(_notes(chosen, container, info, pix_fmt))
    return Encoding(container, chosen, pix_fmt, full, options, notes)


def check_settings(
    codec: str | None,
    crf: float | None,
    preset: str | None,
    pix_fmt: str | None = None,
) -> None:
    """Refuses settings that no codec takes (UsageError); None always passes."""
    if codec is not None and codec not in CODECS:
        raise UsageError(f"unknown codec {codec!r}: {nearest(codec, CODECS)}")
    candidates = [CODECS[codec]] if codec else list(CODECS.values())
    if crf is not None and not any(c.best <= crf <= c.worst for c in candidates):
        _quality(candidates[0], crf)
    if preset is not None and not any(preset in c.presets for c in candidates):
        _speed(candidates[0], preset)
    if pix_fmt is not None and not any(pix_fmt in c.pix_fmts for c in candidates):
        known = nearest(pix_fmt, candidates[0].pix_fmts if codec else PIX_FMTS)
        of = f" of {candidates[0].title}" if codec else ""
        raise UsageError(f"pix_fmt {pix_fmt!r}{of}: {known}")


def _codec(container, suffix, name):
    if name is None:
        return CODECS[container.codecs[0]]
    check_settings(name, None, None)
    if name not in container.codecs:
        others = [s for s, c in CONTAINERS.items() if name in c.codecs]
        raise UsageError(
            f"{suffix} cannot hold {CODECS[name].title}; it can hold "
            f"{', '.join(container.codecs)}, and {', '.join(others)} {name}"
        )
    return CODECS[name]


def _quality(codec, crf):
    if crf is None:
        return codec.crf
    if not codec.best <= crf <= codec.worst:
        raise UsageError(
            f"crf {crf:g}: {codec.title} takes {codec.best} to {codec.worst}, "
            f"{codec.crf} if not given"
        )
    return crf


def _speed(codec, preset):
    if preset is None:
        return codec.preset
    if preset not in codec.presets:
        if not codec.presets:
            raise UsageError(f"preset {preset!r}: {codec.title} has none")
        known = nearest(preset, codec.presets)
        raise UsageError(f"preset {preset!r} of {codec.title}: {known}")
    return preset


def _pix_fmt(codec, info, name):
    odd = info.width % 2 or info.height % 2
    if name is None:
        return "yuv444p" if odd and not codec.odd else "yuv420p"
    check_settings(codec.name, None, None, name)
    columns, rows = SAMPLINGS[PIX_FMTS[name]]
    if not codec.odd and (info.width % columns or info.height % rows):
        raise UserError(
            f"pix_fmt {name}: {codec.title} cannot hold the odd size "
            f"{info.width}x{info.height} so; yuv444p can"
        )
    return name


def _options(codec, crf, preset):
    quality = f"{crf:g}"
    match codec.name:
        case "vp9":
            options = {"crf": quality, "b": "0", "deadline": "good", "row-mt": "1"}
            return options | {"cpu-used": preset}
        case "mpeg2":
            # libav wants the constant quality set per frame, which PyAV cannot do.
            scale = str(round(crf))
            return {"flags": "+qscale", "qmin": scale, "qmax": scale}
        case "hevc":
            quiet = {"x265-params": "log-level=none"}
            return {"crf": quality, "preset": preset} | quiet
    options = {"crf": quality, "preset": preset}
    return options | _x264_params() if codec.name == "h264" else options


@functools.cache
def _x264_params() -> dict[str, str]:
    """Keeps x264 from using AVX-512, where equal frames can give different files."""
    # Of sizes that are no multiples of 16, its macroblock tree then depends on what was
    # in memory before (seen with x264 165). AVX2 and SSE4.2 give equal bytes in 9 and
    # 13 % more time; the processor must have what is requested.
    if platform.machine() not in ("x86_64", "AMD64"):
        return {}
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:  # another system: what all of these processors have
        return {"x264-params": "asm=SSE4.2"}
    return {"x264-params": "asm=AVX2"} if "avx512" in flags else {}


def _notes(codec, container, info, pix_fmt):
    odd = info.width % 2 or info.height % 2
    size = f"odd size {info.width}x{info.height}"
    if odd and codec.odd:
        yield f"{size}: kept exactly by {codec.title}"
    elif odd:
        yield (
            f"{size}: kept exactly as {codec.title} 4:4:4, which some players cannot "
            "show (.webm keeps it in 4:2:0)"
        )
    matroska = container.format in ("matroska", "webm")
    if info.aspect != 1 and matroska and codec.name in ("vp9", "av1"):
        yield (
            f"pixels of aspect {info.aspect} are shown square, as {codec.title} cannot "
            "store the aspect here; .mp4 keeps it"
        )
    if info.full_range and not codec.full_range:
        yield f"full-range input is written in limited range, {codec.title}'s only one"
    if info.sampling and not _keeps(pix_fmt, info.sampling):
        keeper = next((p for p in codec.pix_fmts if _keeps(p, info.sampling)), None)
        how = (
            f"--pix-fmt {keeper} keeps it" if keeper else f"{codec.title} has no other"
        )
        yield f"{info.sampling} input is written as {PIX_FMTS[pix_fmt]}; {how}"


def _keeps(pix_fmt, sampling):
    """Whether a pixel format has all samples of colour."""
    ours, theirs = SAMPLINGS[PIX_FMTS[pix_fmt]], SAMPLINGS[sampling]
    return ours[0] <= theirs[0] and ours[1] <= theirs[1]
