import struct
from fractions import Fraction

import av
import cv2
import media
import numpy as np
import pytest
from av.sidedata.sidedata import Type

from mtujax.errors import UserError
from mtujax.video.media import open_media, side_data
from mtujax.video.reader import VideoReader


@pytest.mark.parametrize("name", ["a.jpg", "a.mov", "a.avi", "a.mkv"])
def test_jpegs_with_exif_are_read_and_turned(tmp_path, name):
    path = media.photographs(tmp_path / name, orientation=6)
    photo = media.photographs(tmp_path / "photo.jpg", orientation=6)
    wanted = cv2.imread(str(photo))[..., ::-1]  # which turns it
    with VideoReader(path) as reader:
        frames = [reader.info.orientation.upright(f) for f, _ in reader.frames()]
        assert reader.info.orientation.turns == 3
    assert len(frames) == (1 if name == "a.jpg" else 4)
    assert frames[0].shape == wanted.shape == (64, 48, 3)
    assert np.abs(frames[0].astype(int) - wanted).mean() < 4


def test_side_data_of_any_type_is_passed_over(tmp_path):
    path = media.photographs(tmp_path / "a.mov", orientation=8)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    assert len(side_data(frame, "DISPLAYMATRIX")) == 36
    assert side_data(frame, "MASTERING_DISPLAY_METADATA") is None
    for number in (-1, 31, 32, 999):
        assert Type(number).value == number
        with pytest.raises(KeyError):
            Type[f"UNKNOWN_{number}"]
    assert Type(6) is Type.DISPLAYMATRIX


@pytest.mark.parametrize("name", ["a.mp3", "a.m4a", "a.mka", "a.flac", "a.ogg"])
def test_a_song_with_a_cover_is_no_video(tmp_path, name):
    path = media.song(tmp_path / name)
    with av.open(str(path)) as container:
        assert container.streams.video
    with pytest.raises(UserError, match="has no video stream, only a cover picture"):
        VideoReader(path)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_film_with_a_cover_is_read_without_it(tmp_path, name):
    path = media.with_cover_art(tmp_path / name, media.scene(3))
    with VideoReader(path) as reader:
        assert len(list(reader.frames())) == 3
        assert (reader.info.width, reader.info.height) == (64, 48)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.avi", "a.ts"])
def test_tags_of_any_bytes_are_read(tmp_path, name):
    path = media.clip(tmp_path / name, media.scene(2), metadata={"title": "Caf#"})
    path.write_bytes(path.read_bytes().replace(b"Caf#", b"Caf\xe9"))
    with VideoReader(path) as reader:
        assert len(list(reader.frames())) == 2
    with open_media(path) as container:
        found = [*container.metadata.values()]
    assert name == "a.ts" or "Caf\udce9" in found


def test_a_picture_in_tiles_is_refused_with_the_remedy(tmp_path):
    path = media.tiled(tmp_path / "a.avif")
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 4
    with pytest.raises(UserError, match="picture in tiles.*convert it to PNG or JPEG"):
        VideoReader(path)


def told(path, place, data):
    """Overwrites what the container alone tells; `place` finds it in the bytes."""
    whole = bytearray(path.read_bytes())
    at = place(whole)
    whole[at : at + len(data)] = data
    path.write_bytes(whole)
    return path


def pasp(path, **options):
    path = media.clip(path, media.scene(3), aspect=Fraction(4, 3), **options)
    return told(path, lambda b: b.index(b"pasp") + 4, struct.pack(">II", 32, 27))


def tkhd(path):
    path = media.clip(path, media.scene(3))
    sides = struct.pack(">II", 64 * 32 << 16, 48 * 27 << 16)
    return told(path, lambda b: b.index(b"tkhd") + 80, sides)


def display_size(path):
    path = media.clip(path, media.scene(3), matrix=1, primaries=1, transfer=1)
    told(path, lambda b: b.index(b"\x54\xb2\x81\x04") + 3, b"\0")  # units: pixels
    size = b"\x54\xb0\x82" + (64 * 32).to_bytes(2)
    size += b"\x54\xba\x82" + (48 * 27).to_bytes(2)
    # In the place of its colours, the rest of which becomes empty space.
    return told(path, lambda b: b.index(b"\x55\xb0"), size + b"\xec\x87")


@pytest.mark.parametrize("name", ["pasp.mp4", "pasp.mov", "tkhd.mp4", "size.mkv"])
def test_the_containers_pixel_aspect_wins(tmp_path, name):
    makers = {"pasp": pasp, "tkhd": tkhd, "size": display_size}
    path = makers[name[:4]](tmp_path / name)
    with VideoReader(path) as reader:
        assert reader.info.aspect == Fraction(32, 27)
        assert len(list(reader.frames())) == 3
    turned = pasp(tmp_path / "turned.mp4", rotation=(90,))
    with VideoReader(turned) as reader:
        assert reader.info.aspect == Fraction(32, 27)
        assert reader.info.upright.aspect == Fraction(27, 32)


@pytest.mark.parametrize(
    "name", ["a%d", "a%03d", "a*", "a:b", "-a", "a\nb", "caf\udce9"]
)
@pytest.mark.parametrize("suffix", [".jpg", ".mp4"])
def test_a_name_of_any_characters_is_one_file(tmp_path, name, suffix):
    path = tmp_path / (name + suffix)
    make = media.photographs if suffix == ".jpg" else media.clip
    make(tmp_path / f"plain{suffix}", media.scene(1)).rename(path)
    media.photographs(tmp_path / "a1.jpg", media.scene(1))
    media.photographs(tmp_path / "a2.jpg", media.scene(1))
    with VideoReader(path) as reader:
        assert len(list(reader.frames())) == 1
    output = tmp_path / f"{name}.out.mkv"
    with open_media(output, "w") as out:
        stream = out.add_stream("mjpeg", 25, width=64, height=48, pix_fmt="yuvj420p")
        out.mux(stream.encode(av.VideoFrame(64, 48, "yuvj420p")))
        out.mux(stream.encode())
    assert output.stat().st_size > 300
