import itertools
import os
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from mtujax.errors import UserError
from mtujax.video import image_files
from mtujax.video.image_files import (
    decode,
    decode_image,
    decode_noting,
    image_size,
    read_image,
)
from mtujax.video.image_folder import FolderReader


def damaged_jpeg(rng):
    """Damaged so that it still decodes, with a line of the library's own."""
    image = rng.integers(0, 256, (64, 96, 3), np.uint8)
    data = bytearray(cv2.imencode(".jpg", image)[1].tobytes())
    middle = len(data) // 2
    data[middle : middle + 8] = bytes(range(8))
    return bytes(data)


def odd_png(image):
    """With a profile that libpng complains about."""
    data = cv2.imencode(".png", image)[1].tobytes()
    content = b"iCCPx\0\0" + zlib.compress(b"junk")
    extra = (len(content) - 4).to_bytes(4) + content + zlib.crc32(content).to_bytes(4)
    return data[:33] + extra + data[33:]


def test_damage_of_jpeg_frames_is_said_once_in_our_words(tmp_path, rng, capfd):
    bad = damaged_jpeg(rng)
    assert cv2.imdecode(np.frombuffer(bad, np.uint8), -1) is not None
    assert "Corrupt JPEG data" in capfd.readouterr().err
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(bad)
    with FolderReader(tmp_path) as reader:
        assert len(list(reader.frames())) == 2
    assert reader.late_notes == ("damaged, decoded as far as that went: a.jpg, b.jpg",)
    assert capfd.readouterr().err == ""


def odd_jpegs(rng):
    """Of another version, and progressive ones that lack one of their scans."""
    image = rng.integers(0, 256, (64, 96, 3), np.uint8)
    plain = bytearray(cv2.imencode(".jpg", image)[1].tobytes())
    plain[11] = 2  # the version, behind "JFIF"
    yield bytes(plain)
    progressive = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    data = cv2.imencode(".jpg", image, progressive)[1].tobytes()
    first, *scans = data.split(b"\xff\xda")
    for number in range(len(scans)):
        kept = scans[:number] + scans[number + 1 :]
        yield b"\xff\xda".join([first, *kept])


def test_each_of_libjpegs_lines_is_caught(rng, capfd):
    odd = list(odd_jpegs(rng))
    for data in odd:
        cv2.imdecode(np.frombuffer(data, np.uint8), -1)
    printed = capfd.readouterr().err
    assert "unknown JFIF" in printed and "Inconsistent progression" in printed
    assert all(decode_noting(data, -1)[1] for data in odd[:2])
    for data in odd:
        decode_noting(data, -1)
    assert capfd.readouterr().err == ""


def test_libraries_print_nothing_about_a_pngs_metadata_or_damage(rng, capfd):
    image = rng.integers(0, 256, (64, 96, 3), np.uint8)
    data = odd_png(image)
    assert cv2.imdecode(np.frombuffer(data, np.uint8), -1) is not None
    assert "libpng warning" in capfd.readouterr().err
    np.testing.assert_array_equal(decode_image(data, -1), image)
    np.testing.assert_array_equal(decode(data, "a.png"), image[..., ::-1])
    assert decode_image(data[: len(data) // 2], -1) is None
    with pytest.raises(UserError, match="a.png: cut short"):
        decode(data[: len(data) // 2], "a.png")
    assert capfd.readouterr().err == ""


def test_of_many_threads_each_learns_of_its_own_images(rng, capfd):
    bad = damaged_jpeg(rng)
    good = cv2.imencode(".jpg", rng.integers(0, 256, (64, 96, 3), np.uint8))[1]
    images = [bad if k % 7 == 3 else good.tobytes() for k in range(300)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda data: decode_noting(data, -1)[1], images))
    assert found == [k % 7 == 3 for k in range(300)]
    assert capfd.readouterr().err == ""


def test_damage_of_a_datasets_jpegs_is_said_once(tmp_path, rng, capfd, monkeypatch):
    monkeypatch.setattr(image_files, "_DAMAGED", itertools.count())
    paths = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    for path in paths:
        path.write_bytes(damaged_jpeg(rng))
    assert image_size(paths[0]) == (64, 96)
    with pytest.warns(UserWarning) as said:
        for path in 2 * paths:
            assert read_image(path).shape == (64, 96, 3)
    (line,) = said
    assert str(line.message).startswith(f"{paths[0]}: damaged, decoded as far")
    assert capfd.readouterr().err == ""


def test_work_that_fails_leaves_standard_error_as_it_was(capfd):
    def fail():
        os.write(2, b"libpng error: x\nanother line\n")
        raise ValueError("mine")

    for _ in range(2):
        with pytest.raises(ValueError, match="mine"):
            image_files._STDERR.call(fail, alone=False)
    os.write(2, b"then\n")
    assert capfd.readouterr().err == "another line\nanother line\nthen\n"


@pytest.mark.parametrize(
    "stream",
    [b"", b"\x87\x9c", zlib.compress(b"\x09" * 999), zlib.compress(bytes(9))],
)
def test_nothing_is_printed_about_pixels_of_a_png(stream, rng, capfd):
    """Each chunk's checksum fits, so that only the decoder finds what is wrong."""
    image = rng.integers(0, 256, (8, 8, 3), np.uint8)
    data = cv2.imencode(".png", image)[1].tobytes()
    content = b"IDAT" + stream
    chunk = len(stream).to_bytes(4) + content + zlib.crc32(content).to_bytes(4)
    bad = data[:33] + chunk + data[-12:]
    assert cv2.imdecode(np.frombuffer(bad, np.uint8), -1) is None
    assert capfd.readouterr().err
    assert decode_noting(bad, -1) == (None, True)
    with pytest.raises(UserError, match="a.png: cannot be decoded"):
        decode(bad, "a.png")
    assert capfd.readouterr().err == ""


THREADS = """
import os, sys, threading
from mtujax.video.image_files import decode_noting
data = open(sys.argv[1], "rb").read()
def write():
    for k in range(300):
        os.write(2, b"line %d\\n" % k)
other = threading.Thread(target=write)
other.start()
while other.is_alive():
    assert decode_noting(data, -1)[1]
"""


def test_what_other_threads_print_meanwhile_is_not_lost(tmp_path, rng):
    (tmp_path / "a.jpg").write_bytes(damaged_jpeg(rng))
    command = [sys.executable, "-c", THREADS, str(tmp_path / "a.jpg")]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [f"line {k}" for k in range(300)]
