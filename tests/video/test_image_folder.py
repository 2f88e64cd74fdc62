import cv2
import media
import numpy as np
import pytest

from mtujax.common.files import natural_key
from mtujax.errors import UserError
from mtujax.video.image_folder import FolderReader, FolderWriter, ImageKind
from mtujax.video.reader import VideoReader


def folder(path, **images):
    path.mkdir()
    for name, image in images.items():
        assert cv2.imwrite(str(path / name.replace("_", ".")), image)
    return path


def copy(source, target):
    target.mkdir()
    with FolderReader(source) as reader, FolderWriter(target) as writer:
        for frame, kind in reader.frames():
            writer.write(frame, kind)
    return reader


def test_numbers_in_names_sort_by_value():
    names = ["f10.png", "f2.png", "f1.png", "e10.png", "f02.png"]
    wanted = ["e10.png", "f1.png", "f02.png", "f2.png", "f10.png"]
    assert sorted(names, key=natural_key) == wanted


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(5, 3), (5, 3, 3), (5, 3, 4), (1, 1, 3)])
def test_png_of_every_kind_comes_back_equal(tmp_path, rng, shape, dtype):
    image = rng.integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)
    info = copy(folder(tmp_path / "in", a_png=image), tmp_path / "out").info
    assert (info.width, info.height, info.frames) == (shape[1], shape[0], 1)
    found = cv2.imread(str(tmp_path / "out" / "a.png"), cv2.IMREAD_UNCHANGED)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, image)


def test_frames_are_rgb_and_jpeg_stays_jpeg(tmp_path):
    image = np.full((16, 16, 3), (10, 100, 200), np.uint8)  # BGR
    grey = np.full((16, 16), 77, np.uint8)
    source = folder(tmp_path / "in", f10_jpg=grey, f2_JPEG=image)
    copy(source, tmp_path / "out")
    with FolderReader(tmp_path / "out") as reader:
        (colour, first), (_, second) = reader.frames()
    assert np.abs(colour.astype(int) - [200, 100, 10]).max() <= 2
    assert (first.name, second.name, second.grey) == ("f2.JPEG", "f10.jpg", True)
    assert (tmp_path / "out" / "f2.JPEG").read_bytes()[:2] == b"\xff\xd8"


def test_a_folder_of_both_depths_is_read_as_float(tmp_path):
    deep = np.full((4, 4, 3), 65535, np.uint16)
    plain = np.full((4, 4, 3), 51, np.uint8)
    source = folder(tmp_path / "in", a_png=plain, b_png=deep)
    assert copy(source, tmp_path / "out").deep
    with FolderReader(source) as reader:
        (first, _), (second, _) = reader.frames()
    assert first.dtype == second.dtype == np.float32
    assert (first.max(), second.max()) == (np.float32(0.2), 1.0)
    for name in ("a.png", "b.png"):
        before, after = (
            cv2.imread(str(tmp_path / side / name), cv2.IMREAD_UNCHANGED)
            for side in ("in", "out")
        )
        assert before.dtype == after.dtype and (before == after).all()


def test_a_range_counts_frames(tmp_path):
    images = {f"f{i}_png": np.full((2, 2), i, np.uint8) for i in range(12)}
    with FolderReader(folder(tmp_path / "in", **images)) as reader:
        found = [kind.name for _, kind in reader.frames(start=1, end=3)]
        assert found == ["f1.png", "f2.png"]
        assert list(reader.frames(start=12)) == []


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_the_first_frame_of_another_size_is_named(tmp_path, suffix):
    images = {f"f{i}_{suffix}": np.zeros((4, 6), np.uint8) for i in range(12)}
    images |= {f"f{i}_{suffix}": np.zeros((4, 5), np.uint8) for i in (9, 10)}
    with pytest.raises(UserError, match=f"f9.{suffix}: is 5x4, .* 6x4"):
        FolderReader(folder(tmp_path / "in", **images))


def test_folders_without_readable_frames_are_refused(tmp_path):
    empty = folder(tmp_path / "empty")
    with pytest.raises(UserError, match="no PNG or JPEG frames$"):
        FolderReader(empty)
    (empty / "a.MP4").touch()
    with pytest.raises(UserError, match="frames, but videos: --to FOLDER restores"):
        FolderReader(empty)
    (empty / "a.png").write_text("text")
    with pytest.raises(UserError, match="a.png: cannot be read as an image"):
        FolderReader(empty)


def test_other_files_are_named(tmp_path):
    source = folder(tmp_path / "in", a_png=np.zeros((2, 2), np.uint8))
    (source / "notes.txt").write_text("text")
    assert "notes.txt" in FolderReader(source).info.notes[0]


def test_a_png_under_the_name_of_a_jpeg_is_said_to_become_one(tmp_path):
    (tmp_path / "in").mkdir()
    _, data = cv2.imencode(".png", np.full((8, 8, 4), 99, np.uint8))
    (tmp_path / "in" / "a.jpg").write_bytes(data.tobytes())
    with FolderReader(tmp_path / "in") as reader:
        assert "a.jpg" in reader.info.notes[0] and "alpha" in reader.video_notes[1]
        (frame, kind) = next(reader.frames())
    assert frame.shape == (8, 8, 3) and kind.alpha is None


def test_a_jpeg_under_the_name_of_a_png_is_said_to_become_one(tmp_path):
    (tmp_path / "in").mkdir()
    _, data = cv2.imencode(".jpg", np.full((8, 8, 3), 99, np.uint8))
    (tmp_path / "in" / "a.png").write_bytes(data.tobytes())
    info = copy(tmp_path / "in", tmp_path / "out").info
    assert info.notes == (
        "no PNG by content, written as PNG and without metadata: a.png",
    )
    assert (tmp_path / "out" / "a.png").read_bytes()[1:4] == b"PNG"


def test_a_frame_that_a_format_cannot_hold_is_no_empty_file(tmp_path):
    frame = np.zeros((1, 70000, 3), np.uint8)  # JPEG counts to 65535
    with pytest.raises(UserError, match=r"a\.jpg: cannot hold a frame of 70000x1"):
        FolderWriter(tmp_path).write(frame, ImageKind("a.jpg"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_an_animated_picture_is_said_with_the_remedy(tmp_path, name):
    path = folder(tmp_path / "frames", b_png=media.scene(1)[0]) / name
    animation = cv2.Animation()
    animation.frames = [f[..., ::-1].copy() for f in media.scene(4)]
    animation.durations = np.full(4, 40, np.int32)
    assert cv2.imwriteanimation(str(tmp_path / "a.png"), animation)
    (tmp_path / "a.png").rename(path)
    with FolderReader(path.parent) as reader:
        said = f"animated, only the first picture is read: {name}; give the file itself"
        assert any(said in note for note in reader.info.notes)
        assert len(list(reader.frames())) == 2
    with VideoReader(path) as reader:
        assert len(list(reader.frames())) == 4
    path.unlink()
    with FolderReader(path.parent) as reader:
        assert reader.info.notes == ()


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.tif"])
def test_other_pictures_of_several_frames_are_left_out_and_said(tmp_path, name):
    cv2.imwrite(str(tmp_path / "b.png"), media.scene(1)[0])
    frames = [f[..., ::-1].copy() for f in media.scene(4)]
    if name == "a.tif":
        cv2.imwritemulti(str(tmp_path / name), frames)
    else:
        animation = cv2.Animation()
        animation.frames, animation.durations = frames, np.full(4, 40, np.int32)
        cv2.imwriteanimation(str(tmp_path / name), animation)
    with FolderReader(tmp_path) as reader:
        assert reader.info.notes == (f"not frames, left out: {name}",)
