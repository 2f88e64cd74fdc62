"""Motion in `.npz` and `.flo` files."""

import os
import struct

import numpy as np
import pytest
from motions import write_flo

from mtujax.data.flow import FlowFiles, read_flo, read_npz, write_npz
from mtujax.data.frames import VideoInfo, Window
from mtujax.errors import UserError

WINDOW = Window(top=2, left=3, height=4, width=5)


@pytest.fixture
def motion(rng):
    flow = rng.integers(-80, 80, (8, 11, 2)).astype(np.float32) / 4
    return flow, rng.random((8, 11)) < 0.7


def same(found, flow, valid):
    np.testing.assert_array_equal(found[0], flow)
    np.testing.assert_array_equal(found[1], valid)
    assert (found[0].dtype, found[1].dtype) == (np.float32, bool)


def test_a_flo_built_by_hand_is_read(tmp_path):
    """Two columns, one row: (1.5, -2) and a vector that is unknown."""
    file = tmp_path / "a.flo"
    file.write_bytes(b"PIEH" + struct.pack("<ii4f", 2, 1, 1.5, -2.0, 2e9, 0.0))
    same(read_flo(file), [[[1.5, -2], [0, 0]]], [[True, False]])


@pytest.mark.parametrize("form", ["flo", "npz", "own npz", "compressed npz"])
def test_what_is_written_is_read_whole_and_in_a_window(form, motion, tmp_path):
    flow, valid = motion
    file = tmp_path / "a"
    match form:
        case "flo":
            write_flo(file, flow, valid)
            flow = np.where(valid[..., None], flow, 0)
        case "npz":
            write_npz(file, flow, valid)
        case "own npz":
            with file.open("wb") as out:
                np.savez(out, valid=valid, more=0, flow=flow.astype(np.float64))
        case "compressed npz":
            with file.open("wb") as out:
                np.savez_compressed(out, flow=flow, valid=valid)
    read = read_flo if form == "flo" else read_npz
    same(read(file), flow, valid)
    same(read(file, size=(8, 11)), flow, valid)
    same(read(file, WINDOW), flow[2:6, 3:8], valid[2:6, 3:8])


def break_flo(path, data):
    yield data[:-1], "has 715 bytes, but its header says 11x8, which takes 716"
    yield data + b"\0", "has 717 bytes"
    yield data[:7], "not a .flo file"
    yield b"", "not a .flo file"
    yield b"HEIP" + data[4:], "does not begin with 202021.25"
    yield data[:4] + struct.pack("<ii", -11, 8) + data[12:], "header says -11x8"
    yield data[:4] + struct.pack("<ii", 0, 0), "header says 0x0"


def break_npz(path, data):
    arrays = {"flow": np.zeros((8, 11, 2)), "valid": np.ones((8, 11), bool)}

    def saved(**changed):
        merged = {k: v for k, v in (arrays | changed).items() if v is not None}
        np.savez(path, **merged)
        return path.read_bytes()

    yield data[:200], "damaged"
    yield data[:-30], "damaged"
    yield b"", "damaged"
    yield b"PIEH", "damaged"
    yield saved(valid=None), "needs the arrays `flow`"
    yield saved(flow=np.zeros((8, 11), object)), "damaged, or no .npz"
    yield saved(flow=np.zeros((2, 8, 11))), "holds flow float64"
    yield saved(flow=np.zeros((8, 11, 2), int)), "holds flow int64"
    yield saved(valid=np.ones((8, 11))), "valid float64"
    yield saved(valid=np.ones((8, 10), bool)), r"valid bool \[8, 10\]"


@pytest.mark.parametrize("suffix", ["flo", "npz"])
def test_a_damaged_file_is_named(suffix, motion, tmp_path):
    file = tmp_path / f"a.{suffix}"
    write, read, breaks = {
        "flo": (write_flo, read_flo, break_flo),
        "npz": (write_npz, read_npz, break_npz),
    }[suffix]
    write(file, *motion)
    for data, message in breaks(file, file.read_bytes()):
        file.write_bytes(data)
        with pytest.raises(UserError, match=message) as error:
            read(file, WINDOW)
        assert str(error.value).startswith(str(file)) and "\n" not in str(error.value)
    file.unlink()
    with pytest.raises(UserError, match="a.*: no such file"):
        read(file)


def test_damage_inside_a_compressed_file_is_seen(motion, tmp_path):
    file = tmp_path / "a.npz"
    np.savez_compressed(file, flow=motion[0], valid=motion[1])
    data = bytearray(file.read_bytes())
    data[100] ^= 255
    file.write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        read_npz(file)


@pytest.fixture
def files(motion, tmp_path):
    """Two videos; the first has a file for its first frame too."""
    for name, numbers in {"a": (8, 9, 10), "b": (9, 10)}.items():
        (tmp_path / name).mkdir()
        for n in numbers:
            write_npz(tmp_path / name / f"{n}.npz", motion[0] + n, motion[1])
    return tmp_path


VIDEOS = [VideoInfo(name, 3, 8, 11) for name in "ab"]
STEMS = [["8", "9", "10"]] * 2


@pytest.mark.parametrize("stems", [None, STEMS])
def test_files_belong_to_frames_by_name_or_in_natural_order(stems, files, motion):
    found = FlowFiles("motion", VIDEOS, [files / v.name for v in VIDEOS], stems)
    for video in (0, 1):
        for frame, number in ((1, 9), (2, 10)):
            same(found.motion(video, frame), motion[0] + number, motion[1])
        flow, valid = found.motion(video, 0, WINDOW)
        assert flow.shape == (4, 5, 2) and not flow.any() and not valid.any()
    same(found.motion(1, 2, WINDOW), motion[0][2:6, 3:8] + 10, motion[1][2:6, 3:8])


def _larger(path):
    write_flo(path, np.zeros((9, 11, 2)))


@pytest.mark.parametrize(
    "harm, message",
    [
        (lambda f: os.unlink(f / "b/10.npz"), r"b/10.npz \(or .flo\): missing"),
        (lambda f: (f / "b/10.npz").rename(f / "b/11.npz"), "b/11.npz: b has no frame"),
        (lambda f: [p.unlink() for p in (f / "b").iterdir()], "b: has no .npz or .flo"),
        (lambda f: (f / "b").rename(f / "c"), "b: no such folder"),
        (
            lambda f: [(f / "b").rename(f / "c"), (f / "b").touch()],
            "b: is a file; give a folder",
        ),
        (
            lambda f: [os.unlink(f / "b/9.npz"), _larger(f / "b/9.flo")],
            "b/9.flo: is 11x9, but its frames are 11x8",
        ),
    ],
)
def test_a_file_that_is_missing_or_wrong_is_named(harm, message, files):
    harm(files)
    with pytest.raises(UserError, match=message):
        FlowFiles("motion", VIDEOS, [files / v.name for v in VIDEOS], STEMS)


def test_a_wrong_number_of_files_is_refused_where_names_are_not_known(files):
    write_flo(files / "b/11.flo", np.zeros((8, 11, 2)))
    write_flo(files / "b/12.flo", np.zeros((8, 11, 2)))
    with pytest.raises(UserError, match="b: has 4 files, but b has 3 frames"):
        FlowFiles("motion", VIDEOS, [files / v.name for v in VIDEOS])
