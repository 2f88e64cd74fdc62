"""Small video files as people have them, whole and broken, and what is in them.

Every maker takes the `path` to write and returns it; the suffix tells the container.
"""

import base64
import struct
from fractions import Fraction
from pathlib import Path

import av
import av.filter
import cv2
import numpy as np
from media_clip import (
    BT601,
    BT709,
    BT2020,
    HLG,
    PQ,
    RATE,
    TICK,
    X265,
    add,
    clip,
    graded,
    scene,
    sound,
    yuv,
)
from media_probe import Probe, decode, probe, ticks
from media_tiles import tiled

__all__ = ["TICK", "Probe", "clip", "decode", "probe", "scene", "ticks", "tiled"]

KEY = "00112233445566778899aabbccddeeff"


def _kind(**fixed):
    def make(path, frames=None, **options):
        return clip(path, frames or scene(), **(fixed | options))

    return make


_HDR = {"codec": "libx265", "pix_fmt": "yuv420p10le", "primaries": 9, "matrix": BT2020}
_HDR10 = (
    ":hdr10=1:repeat-headers=1:max-cll=1000,400:master-display="
    "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
)
_FASTSTART = {"movflags": "faststart"}  # its index comes first, as on the web
_TAGGED = {"matrix": BT709, "primaries": 1, "transfer": 1}
h264_mp4 = _kind(audio="aac", container_options=_FASTSTART, **_TAGGED)
hevc_mov = _kind(codec="libx265", audio="pcm_s16le", matrix=BT709)
vp9_webm = _kind(codec="libvpx-vp9", audio="libopus")
av1_mkv = _kind(codec="libsvtav1", audio="libopus")
mpeg2_mpg = _kind(codec="mpeg2video", audio="mp2")
mpeg2_ts = _kind(codec="mpeg2video", audio="mp2", start=100)
h264_ts = _kind(audio="aac", start=250)
mjpeg_avi = _kind(
    codec="mjpeg", pix_fmt="yuvj420p", full=True, matrix=BT601, audio="pcm_s16le"
)
portrait = _kind(rotation=(90,))
mirrored = _kind(rotation=(90, True))
bt601_small = _kind(matrix=BT601, primaries=6, transfer=6)
full_range = _kind(matrix=BT709, full=True)
ten_bit_sdr = _kind(codec="libx265", pix_fmt="yuv420p10le", matrix=BT709)
anamorphic = _kind(aspect=Fraction(4, 3))
chaptered = _kind(
    chapters=[(0, 0.4, "One"), (0.4, 0.8, "Two")], metadata={"title": "Arches"}
)
with_data_stream = _kind(metadata={"timecode": "01:00:00:00"})
two_audio_and_subtitles = _kind(
    audio=[
        ("aac", {"language": "eng", "title": "Talk"}),
        ("ac3", {"language": "fra", "title": "Paroles"}),
    ],
    subtitles=[("subrip", {"language": "deu", "title": "Untertitel"})],
)


def hdr10(path, frames=None, **options):
    """BT.2020 PQ in 10 bits, with mastering display and light levels."""
    extra = {"transfer": PQ, "options": {"x265-params": X265 + _HDR10}}
    return clip(path, graded(frames or scene(), PQ), **(_HDR | extra | options))


def hlg(path, frames=None, **options):
    """BT.2020 HLG in 10 bits."""
    return clip(path, graded(frames or scene(), HLG), transfer=HLG, **(_HDR | options))


def variable_rate(path, frames=None, **options):
    """Frames that come 20 to 90 ms after each other, on a clock of 1/1000 s."""
    frames = frames or scene()
    times = (np.cumsum(np.resize([40, 20, 90, 33, 34], len(frames))) - 40).tolist()
    return clip(path, frames, times=times, time_base=Fraction(1, 1000), **options)


def odd_size(path, frames=None, **options):
    """65x49: VP9 4:2:0 in WebM, H.264 4:4:4 in the rest."""
    kind = {"pix_fmt": "yuv444p"}
    if Path(path).suffix == ".webm":
        kind = {"codec": "libvpx-vp9"}
    return clip(path, frames or scene(20, 65, 49), **(kind | options))


def interlaced(path, frames=None, *, top_first=True, **options):
    """Two of the moments that are given in each frame, in its even and odd rows."""
    first = "top" if top_first else "bottom"
    steps = [("setfield", first[0] + "ff"), ("separatefields", None)]
    steps += [("select", "expr='not(mod(n,4)-0)+not(mod(n,4)-3)'"), ("weave", first)]
    woven = _filtered([yuv(f, "yuv420p") for f in frames or scene(40)], steps)
    flags = {"flags": "+ildct+ilme"}
    if options.get("codec") == "mpeg2video":
        flags["flags"] += "+qscale"
    return clip(path, woven, options=flags, **options)


def with_cover_art(path, frames=None, **options):
    """A picture beside the film, as music and films from shops have."""
    picture = cv2.imencode(".jpg", scene(1, 32, 32)[0])[1].tobytes()

    def cover(out):
        if out.format.name == "matroska":
            out.add_attachment("cover.jpg", "image/jpeg", picture)
            return []
        stream = out.add_mux_stream("mjpeg", width=32, height=32)
        stream.disposition = av.stream.Disposition.attached_pic
        stream.time_base = Fraction(1, 90000)
        packet = av.Packet(picture)
        packet.stream, packet.is_keyframe = stream, True
        packet.pts = packet.dts = 0
        return [packet]

    return clip(path, frames or scene(), extras=cover, **options)


def with_font_attachment(path, frames=None, **options):
    """Matroska with a font for its subtitles."""

    def font(out):
        out.add_attachment("a.ttf", "application/x-truetype-font", b"\0\1\0\0" * 16)
        return []

    return clip(path, frames or scene(), extras=font, subtitles="subrip", **options)


def zero_frames(path):
    """A video stream without a packet, in AVI or a fragmented MP4."""
    empty = {"movflags": "empty_moov"} if Path(path).suffix != ".avi" else None
    return clip(path, [], container_options=empty)


def audio_only(path):
    """Ticks without a picture."""
    with av.open(str(path), "w") as out:
        stream = add(out, "aac")
        out.mux(sound(stream, 0, 1))
    return path


def encrypted(path, frames=None, **options):
    """MP4 under common encryption, as stores sell it; the key is `KEY`."""
    settings = {"encryption_scheme": "cenc-aes-ctr", "fflags": "+bitexact"}
    settings |= {"encryption_key": KEY, "encryption_kid": KEY}
    return clip(path, frames or scene(), container_options=settings, **options)


def unknown_codec(path, source):
    """A copy of an MP4 or AVI with H.264 whose codec is called what nothing is."""
    data = Path(source).read_bytes()
    for name in (b"avc1", b"H264", b"h264"):
        data = data.replace(name, b"zq7x")
    Path(path).write_bytes(data)
    return path


def truncated(path, source, keep=0.6):
    """The first part of a file, as after a broken download."""
    data = Path(source).read_bytes()
    Path(path).write_bytes(data[: int(keep * len(data))])
    return path


def corrupt(path, source, at=16):
    """A copy whose frame `at`, in display order, has a payload of noise.

    As they are made here, 16 is a P-frame that others refer to, 12 a key frame. The
    noise is such that the decoder notices, if it can be had: HEVC and VP9 take any.
    """
    with av.open(str(source)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    number = sorted(range(len(packets)), key=lambda i: packets[i].pts)[at]
    start = max(p.pos or 0 for p in packets[: number + 1])
    whole, payload = Path(source).read_bytes(), bytes(packets[number])
    for seed in range(10):
        Path(path).write_bytes(_noisy(whole, payload, start, seed))
        if _noticed(path):
            break
    return path


def _noisy(whole, payload, start, seed):
    data, rng = bytearray(whole), np.random.default_rng(seed)
    head = len(payload) // 4
    step = min(16, len(payload) - head)
    for k in range(head, len(payload) - step + 1, step):
        found = data.find(payload[k : k + step], start, start + 2 * len(payload) + 2048)
        if found >= 0:  # else it lies across the packets of a transport stream
            # Without bytes that might begin a start code.
            data[found : found + step] = rng.integers(4, 256, step, np.uint8).tobytes()
            start = found + step
    return data


def _noticed(path):
    try:
        with av.open(str(path)) as container:
            return any(frame.is_corrupt for frame in container.decode(video=0))
    except av.FFmpegError:
        return True


def lost_packets(path, source, count=2):
    """A transport stream that lacks some of the picture, as from a bad antenna."""
    data = Path(source).read_bytes()
    parts = [data[i : i + 188] for i in range(0, len(data), 188)]
    pictures = [i for i, p in enumerate(parts) if p[1:3] == b"\1\0"]  # not the first
    middle = pictures[len(pictures) // 2]
    Path(path).write_bytes(b"".join(parts[:middle] + parts[middle + count :]))
    return path


def size_change(path, first=(64, 48), second=(96, 80)):
    """A transport stream whose second half has another size, timestamps going on."""
    parts = b""
    for i, size in enumerate((first, second)):
        part = clip(path, scene(12, *size), start=12 * i + 12)
        parts += Path(part).read_bytes()
    Path(path).write_bytes(parts)
    return path


def no_timestamps(path, frames=None, **options):
    """Raw H.264 with B-frames, or H.264 in AVI: neither stores when to show a frame."""
    container = {".h264": "h264"}.get(Path(path).suffix)
    return clip(path, frames or scene(), container=container, **options)


def _filtered(frames, steps):
    graph, first = av.filter.Graph(), frames[0]
    last = graph.add_buffer(
        None, first.width, first.height, first.format, name="in", time_base=1 / RATE
    )
    for step in [*steps, ("buffersink", None)]:
        node = graph.add(*step)
        last.link_to(node)
        last = node
    graph.configure()
    for i, frame in enumerate(frames):
        frame.pts, frame.time_base = i, 1 / RATE
        graph.push(frame)
    graph.push(None)
    out = []
    while True:
        try:
            out.append(graph.pull())
        except (av.BlockingIOError, av.EOFError):
            return out


def photographs(path, frames=None, *, orientation=6, rate=RATE):
    """JPEG pictures as cameras write them, with EXIF: one in .jpg, else a video."""
    # TIFF: big-endian, one directory of one entry, the orientation.
    exif = b"Exif\0\0MM\0*" + struct.pack(
        ">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0
    )
    pictures = []
    for frame in frames or scene(4):
        data = cv2.imencode(".jpg", frame[..., ::-1])[1].tobytes()
        head = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
        pictures.append(data[:2] + head + data[2:])
    if Path(path).suffix == ".jpg":
        Path(path).write_bytes(pictures[0])
        return path
    height, width = frame.shape[:2]
    with av.open(str(path), "w") as out:
        stream = out.add_mux_stream("mjpeg", rate, width=width, height=height)
        stream.time_base = 1 / rate
        for number, data in enumerate(pictures):
            packet = av.Packet(data)
            packet.stream, packet.is_keyframe = stream, True
            packet.pts = packet.dts = number
            packet.duration, packet.time_base = 1, 1 / rate
            out.mux(packet)
    return path


def joined(path, *starts, count=25, **options):
    """Recordings one after the other, each on a clock that starts at its own frame."""
    parts = []
    for start in starts:
        part = Path(path).with_stem(f"part{len(parts)}")
        frames = scene(count * (len(parts) + 1))[count * len(parts) :]
        parts.append(clip(part, frames, start=start, **options).read_bytes())
    Path(path).write_bytes(b"".join(parts))
    return path


def song(path):
    """Sound with a cover picture, which is a video stream of one picture."""
    picture = cv2.imencode(".jpg", scene(1, 64, 64)[0])[1].tobytes()
    codecs = {"mp3": "libmp3lame", "flac": "flac", "ogg": "libopus"}
    suffix = Path(path).suffix[1:]
    kind = "mp4" if suffix == "m4a" else None
    with av.open(str(path), "w", kind) as out:
        stream, cover = add(out, codecs.get(suffix, "aac")), None
        if suffix == "ogg":
            about = struct.pack(">II10sI", 3, 10, b"image/jpeg", 0)
            about += struct.pack(">5I", 64, 64, 24, 0, len(picture)) + picture
            whole = base64.b64encode(about).decode()
            stream.metadata["METADATA_BLOCK_PICTURE"] = whole
        elif suffix == "mka":
            out.add_attachment("cover.jpg", "image/jpeg", picture)
        else:
            cover = out.add_mux_stream("mjpeg", width=64, height=64)
            cover.disposition = av.stream.Disposition.attached_pic
            cover.time_base = Fraction(1, 90000)
        packets = sound(stream, 0, 1)
        if cover is not None:
            packet = av.Packet(picture)
            packet.stream, packet.is_keyframe = cover, True
            packet.pts = packet.dts = 0
            packets.insert(0, packet)
        out.mux(packets)
    return path
