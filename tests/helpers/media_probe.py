"""What is in a video file, as the tests compare it."""

import dataclasses
from fractions import Fraction

import av
import numpy as np

ACCURATE = 0x4 | 0x2000 | 0x4000 | 0x40000  # swscale: bicubic, all chroma, rounded
TO_SWSCALE = {5: 5, 6: 5, 10: 9}  # code points that swscale numbers otherwise


@dataclasses.dataclass(frozen=True)
class Probe:
    """What a video file holds.

    Attributes:
        frames: how many can be decoded.
        pts: their timestamps in units of `time_base`.
        size: columns and rows of the first frame.
        rotation: degrees counter-clockwise, as libav tells it; blind to mirroring.
        display: the nine numbers of the display matrix, None without one.
        colour: matrix, range, primaries and transfer of the first frame.
        aspect: of a pixel; None if it is not told.
        streams: (type, codec, language) of each; a picture is of type "picture".
        chapters: (start, end, title), in seconds.
    """

    frames: int
    pts: tuple[int | None, ...]
    time_base: Fraction
    size: tuple[int, int]
    rotation: int
    display: tuple[int, ...] | None
    colour: tuple[int, int, int, int]
    aspect: Fraction | None
    codec: str
    pix_fmt: str
    interlaced: bool
    streams: tuple[tuple[str, str | None, str | None], ...]
    chapters: tuple[tuple[float, float, str], ...]
    metadata: dict[str, str]


def probe(path):
    """Decodes all frames of the best video stream and tells what the file holds."""
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        frames = list(container.decode(stream))
        first, chapters = frames[0], container.chapters()
        turn = first.side_data.get("DISPLAYMATRIX")
        return Probe(
            frames=len(frames),
            pts=tuple(f.pts for f in frames),
            time_base=stream.time_base,
            size=(first.width, first.height),
            rotation=first.rotation,
            display=turn and tuple(np.frombuffer(bytes(turn), np.int32).tolist()),
            colour=_colour(first),
            aspect=stream.sample_aspect_ratio,
            codec=stream.codec_context.codec.canonical_name,
            pix_fmt=first.format.name,
            interlaced=all(f.interlaced_frame for f in frames),
            streams=tuple(_stream(s) for s in container.streams),
            chapters=tuple(_chapter(c) for c in chapters),
            metadata=dict(container.metadata),
        )


def decode(path):
    """All frames [H, W, 3] uint8 RGB, colours and range as they are tagged."""
    with av.open(str(path)) as container:
        return [_rgb(f) for f in container.decode(container.streams.best("video"))]


def ticks(path, stream=0):
    """Times in seconds, on the file's own clock, of the ticks in its sound."""
    with av.open(str(path)) as container:
        parts = [
            (frame.time, frame.sample_rate, np.atleast_2d(frame.to_ndarray())[0])
            for frame in container.decode(container.streams.audio[stream])
        ]
    origin, rate = parts[0][0], parts[0][1]
    at = [round((time - origin) * rate) for time, _, _ in parts]
    samples = np.zeros(at[-1] + max(len(p) for _, _, p in parts))
    for place, (_, _, part) in zip(at, parts, strict=True):
        samples[place : place + len(part)] = part
    return [origin + centre / rate for centre in _centres(samples, rate // 100)]


def _centres(samples, reach):
    """Centres of gravity of the loud places, each within `reach` of its peak."""
    power = np.pad(samples**2, reach)
    loudest, centres = power.max(), []
    while loudest and power.max() > loudest / 4:
        peak = int(power.argmax())
        near = power[peak - reach : peak + reach + 1]
        offset = np.arange(len(near)) - reach
        centres.append(peak - reach + (near * offset).sum() / near.sum())
        near[:] = 0
    return sorted(float(c) for c in centres)


def _rgb(frame):
    matrix = int(frame.colorspace)
    if matrix not in (1, 4, 5, 6, 7, 9, 10):
        matrix = 1 if frame.height >= 720 else 6
    full = frame.format.name.startswith("yuvj") or int(frame.color_range) == 2
    return frame.reformat(
        format="rgb24",
        src_colorspace=TO_SWSCALE.get(matrix, matrix),
        src_color_range=2 if full else 1,
        interpolation=ACCURATE,
    ).to_ndarray()


def _colour(frame):
    tags = (frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc)
    return tuple(int(tag) for tag in tags)


def _stream(stream):
    context = stream.codec_context
    picture = stream.disposition & av.stream.Disposition.attached_pic
    name = context.codec.canonical_name if context else None
    return "picture" if picture else stream.type, name, stream.language


def _chapter(chapter):
    start, end = (float(chapter[k] * chapter["time_base"]) for k in ("start", "end"))
    return start, end, chapter["metadata"].get("title", "")
