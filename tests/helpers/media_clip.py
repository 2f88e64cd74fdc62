"""A scene, and the one writer of video files behind all those in `media`.

Letters: H W pixels of a frame.
"""

import functools
import os
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.subtitles.subtitle import SubtitleSet

import mtujax

ARCHES = Path(mtujax.__file__).parent / "assets" / "arches.jpg"
RATE, SOUND_RATE, TICK = Fraction(25), 48000, 0.2
ACCURATE = 0x4 | 0x2000 | 0x4000 | 0x40000  # swscale: bicubic, all chroma, rounded
BT709, BT601, BT2020, PQ, HLG = 1, 6, 9, 16, 18
TO_SWSCALE = {2: 5, 6: 5, 10: 9}  # code points that swscale numbers otherwise
ASS_HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, \
BackColour, Bold, Italic, Underline, StrikeOut, BorderStyle, Outline, Shadow, \
Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,1,1,0,2,10,10,10,0

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
X265 = "log-level=none:pools=none:frame-threads=1"
SETTINGS = {
    "libx264": {"preset": "veryfast", "crf": "10", "g": "12", "threads": "1"},
    "libx265": {"preset": "ultrafast", "crf": "8", "g": "12", "x265-params": X265},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "8", "b": "0"},
    "libsvtav1": {"preset": "12", "crf": "15"},
    "mpeg2video": {"flags": "+qscale", "global_quality": "236", "g": "12", "bf": "2"},
    "mpeg1video": {"flags": "+qscale", "global_quality": "236", "g": "12"},
    "mpeg4": {"flags": "+qscale", "global_quality": "236", "g": "12"},
    "mjpeg": {"flags": "+qscale", "global_quality": "236"},
}
os.environ.setdefault("SVT_LOG", "0")  # or it tells its settings on stderr


@functools.lru_cache
def _scene(count, width, height, speed):
    photo = cv2.cvtColor(cv2.imread(str(ARCHES)), cv2.COLOR_BGR2RGB)
    room = width + abs(speed) * (count - 1)
    scale = max(room / photo.shape[1], height / photo.shape[0])
    columns = max(room, round(scale * photo.shape[1]))
    rows = max(height, round(scale * photo.shape[0]))
    photo = cv2.resize(photo, (columns, rows), interpolation=cv2.INTER_AREA)
    starts = [max(0, -speed * (count - 1)) + speed * i for i in range(count)]
    return [np.ascontiguousarray(photo[:height, x : x + width]) for x in starts]


def scene(count=20, width=64, height=48, *, speed=2):
    """uint8 [H, W, 3] frames that pan over a photograph, `speed` pixels a frame."""
    return [frame.copy() for frame in _scene(count, width, height, speed)]


def graded(frames, transfer):
    """uint16 BT.2020 frames for HDR: white at 203 nits, highlights up to 1000."""
    to_2020 = [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114]]
    to_2020 += [[0.0164, 0.0880, 0.8956]]
    light = (np.array(frames) / 255) ** 2.4 @ np.array(to_2020).T
    light = (light * (1 + 4 * light**4)).clip(0, 1000 / 203)
    if transfer == PQ:
        y = (light * 203 / 10000) ** 0.1593017578125
        signal = ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375
    else:
        e = light / (1000 / 203)
        log = 0.17883277 * np.log(np.maximum(12 * e - 0.28466892, 1e-6)) + 0.55991073
        signal = np.where(e <= 1 / 12, np.sqrt(3 * e), log)
    return list(np.round(signal.clip(0, 1) * 65535).astype(np.uint16))


def ticking(seconds):
    """Mono sound [1, samples]: a tick centred on each multiple of `TICK` but 0."""
    samples = np.zeros(round(seconds * SOUND_RATE), np.float32)
    half = 120
    burst = np.hanning(2 * half + 1) * np.cos(np.arange(-half, half + 1) * 0.6)
    for centre in range(step := round(TICK * SOUND_RATE), samples.size - half, step):
        samples[centre - half : centre + half + 1] += 0.9 * burst
    return samples[None]


def clip(
    path,
    frames,
    *,
    codec="libx264",
    pix_fmt="yuv420p",
    rate=RATE,
    time_base=None,
    times=None,
    start=0,
    matrix=None,
    full=False,
    primaries=None,
    transfer=None,
    aspect=None,
    rotation=None,
    options=None,
    audio=(),
    subtitles=(),
    chapters=(),
    metadata=None,
    extras=None,
    container=None,
    container_options=None,
):
    """Writes uint8 or uint16 RGB frames, or libav's own, with all that goes along.

    Colours are tagged only where `matrix`, `full`, `primaries` or `transfer` tell.
    `times` and `start` count units of `time_base`; `rotation` is the arguments of
    `set_display_rotation`; `audio` and `subtitles` are a codec or a list of codecs or
    of (codec, tags); `chapters` are (start, end, title) in seconds; `extras(output)`
    adds streams and returns their packets.
    """
    time_base = Fraction(time_base or 1 / rate)
    step = round(1 / rate / time_base)
    times = [start + t for t in times or range(0, len(frames) * step, step)]
    span = start * time_base, (times[-1] - start + step) * time_base if times else 1
    tags = {"time_base": time_base, "sample_aspect_ratio": aspect}
    tags |= {"colorspace": matrix, "color_range": 2 if full else matrix and 1}
    tags |= {"color_primaries": primaries, "color_trc": transfer}
    with av.open(str(path), "w", container, container_options=container_options) as out:
        out.metadata.update(metadata or {})
        video = out.add_stream(codec, rate, SETTINGS[codec] | (options or {}))
        video.width, video.height = _size(frames)
        video.pix_fmt = pix_fmt
        for name in [name for name, value in tags.items() if value]:
            setattr(video.codec_context, name, tags[name])
        if rotation:
            video.set_display_rotation(*rotation)
        others = [add(out, item) for item in _several(audio) + _several(subtitles)]
        packets = extras(out) if extras else []
        out.set_chapters([_chapter(*c) for c in enumerate(chapters)])
        out.start_encoding()
        out.mux(packets)
        for frame, pts in zip(frames, times, strict=True):
            frame = yuv(frame, pix_fmt, matrix, full)
            frame.pts, frame.time_base = pts, time_base
            out.mux(video.encode(frame))
        if frames:
            out.mux(video.encode())
            for stream in others:
                out.mux((sound if stream.type == "audio" else _texts)(stream, *span))
    return path


def _size(frames):
    if not frames:
        return 64, 48
    if isinstance(frames[0], av.VideoFrame):
        return frames[0].width, frames[0].height
    return frames[0].shape[1::-1]


def _several(items):
    return [items] if isinstance(items, str) else list(items or ())


def _chapter(number, chapter):
    start, end = (round(1000 * seconds) for seconds in chapter[:2])
    name = {"title": chapter[2]}
    times = {"start": start, "end": end, "time_base": Fraction(1, 1000)}
    return {"id": number, "metadata": name} | times


def add(out, item):
    """A new stream of sound or subtitles: a codec, or (codec, tags)."""
    codec, tags = (item, {}) if isinstance(item, str) else item
    kind = av.Codec(codec, "w").type
    stream = out.add_stream(codec, SOUND_RATE if kind == "audio" else None)
    if kind == "audio":
        stream.layout, stream.bit_rate = "mono", 96000
    else:
        stream.codec_context.subtitle_header = ASS_HEADER
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.time_base = Fraction(1, 1000)
    stream.metadata.update(tags)
    return stream


def sound(stream, start, length):
    """Packets of a click track from `start` on, in seconds."""
    whole = av.AudioFrame.from_ndarray(ticking(length), "fltp", "mono")
    whole.sample_rate, whole.time_base = SOUND_RATE, Fraction(1, SOUND_RATE)
    whole.pts = round(start * SOUND_RATE)
    context = stream.codec_context
    resampler = av.AudioResampler(
        context.format, "mono", SOUND_RATE, frame_size=context.frame_size or 1024
    )
    chunks = [*resampler.resample(whole), *resampler.resample(None), None]
    return [packet for chunk in chunks for packet in stream.encode(chunk)]


def _texts(stream, start, length):
    for i in range(2):
        text = f"{i},0,Default,,0,0,0,,Line {i + 1}".encode()
        line = SubtitleSet.create(text, 0, round(500 * length))
        packet = stream.codec_context.encode_subtitle(line)
        packet.pts = packet.dts = round(1000 * start + 500 * length * i)
        packet.stream, packet.time_base = stream, Fraction(1, 1000)
        yield packet


def yuv(frame, pix_fmt, matrix=None, full=False):
    """RGB as a frame for libav, its colours by `matrix`, BT.601 if None."""
    if isinstance(frame, av.VideoFrame):
        return frame
    rgb = "rgb24" if frame.dtype == np.uint8 else "rgb48le"
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), rgb).reformat(
        format=pix_fmt,
        dst_colorspace=TO_SWSCALE.get(matrix or BT601, matrix),
        dst_color_range=2 if full else 1,
        interpolation=ACCURATE,
    )
