"""Metadata of frames, read by Pillow before and after."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from pictures import PROFILE, XMP, carried, picture, store, store_deep
from PIL import ExifTags, Image, ImageOps

from mtujax.video.image_files import bare, read_metadata, upright, with_metadata
from mtujax.video.image_folder import FolderReader


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_profile_exif_xmp_and_resolution_are_kept(tmp_path, rng, suffix):
    source = tmp_path / "in"
    source.mkdir()
    store(source / f"a{suffix}", picture(rng))
    out, _ = carried(source)
    assert FolderReader(out).video_notes[-1].startswith("the colour profile is dropped")
    with Image.open(source / f"a{suffix}") as before:
        shown = ImageOps.exif_transpose(before)
        info = before.info
    with Image.open(out / f"a{suffix}") as after:
        found, tags = after.info, after.getexif()
        after.load()
    assert found["icc_profile"] == info["icc_profile"] == PROFILE
    assert found["dpi"] == pytest.approx(info["dpi"])
    assert found["xmp"] == XMP.replace(b'"6"', b'"1"')
    assert found.get("Author") == info.get("Author")
    assert found.get("comment") == info.get("comment")
    assert tags[ExifTags.Base.Make] == "camera"
    assert tags[ExifTags.Base.Orientation] == 1
    sides = tags.get_ifd(ExifTags.IFD.Exif)
    names = ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight
    assert tuple(sides[name] for name in names) == after.size == shown.size == (6, 10)
    difference = np.asarray(after, int) - np.asarray(shown, int)
    assert np.abs(difference).max() <= (0 if suffix == ".png" else 60)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_the_orientation_is_applied_once(tmp_path, rng, orientation, suffix):
    source = tmp_path / "in"
    source.mkdir()
    store(source / f"a{suffix}", picture(rng), orientation)
    with Image.open(source / f"a{suffix}") as image:
        expected = np.asarray(ImageOps.exif_transpose(image), int)
    out, (frame,) = carried(source)
    assert frame.shape == expected.shape
    assert np.abs(frame - expected).max() <= (0 if suffix == ".png" else 3)
    with Image.open(out / f"a{suffix}") as after:
        assert after.getexif()[ExifTags.Base.Orientation] == 1


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_frames_of_16_bits_keep_their_metadata(tmp_path, rng, channels):
    (tmp_path / "in").mkdir()
    image = picture(rng, channels, np.uint16)
    store_deep(tmp_path / "in" / "a.png", image)
    out, _ = carried(tmp_path / "in")
    after = (out / "a.png").read_bytes()
    found = cv2.imdecode(np.frombuffer(after, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(found, image)
    names = [name for name, _ in read_metadata(after).parts]
    assert (b"iCCP" in names) == (channels > 1)  # else it is of other colours
    assert b"eXIf" in names


def chunk(name, content):
    check = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + check


def test_chunks_of_colour_are_carried_and_damaged_ones_are_not(rng):
    _, data = cv2.imencode(".png", picture(rng))
    data, cut = data.tobytes(), 33
    kept = (
        chunk(b"gAMA", struct.pack(">I", 45455)),
        chunk(b"cHRM", bytes(32)),
        chunk(b"cICP", bytes([9, 16, 0, 1])),
    )
    other = chunk(b"tIME", bytes(7)), chunk(b"eXIf", b"MM")[:-1] + b"?"
    full = data[:cut] + b"".join(kept + other) + data[cut:]
    assert bare(full) == data
    found = with_metadata(data, read_metadata(full), grey=False)
    assert found == data[:cut] + b"".join(kept) + data[cut:]


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_no_damage_of_metadata_stops_a_frame(tmp_path, rng, suffix):
    path = tmp_path / f"a{suffix}"
    store(path, picture(rng))
    data = path.read_bytes()
    place = data.index(b"MM\0*") if b"MM\0*" in data else data.index(b"II*\0")
    for _ in range(200):
        broken = bytearray(data)
        for at in place + rng.integers(0, 120, 4):
            broken[at] = rng.integers(256)
        found = read_metadata(bytes(broken))
        assert 1 <= found.orientation <= 8
        with_metadata(data, found, grey=False)
    for length in range(len(data)):
        read_metadata(data[:length])
        bare(data[:length])


def test_upright_is_what_opencv_makes_of_a_jpeg(tmp_path, rng):
    image = picture(rng)
    for orientation in range(1, 9):
        store(tmp_path / "a.jpg", image, orientation)
        data = np.frombuffer((tmp_path / "a.jpg").read_bytes(), np.uint8)
        stored = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        shown = cv2.imdecode(data, cv2.IMREAD_COLOR)
        np.testing.assert_array_equal(upright(stored, orientation), shown)
