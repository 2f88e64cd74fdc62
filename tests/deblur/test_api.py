import subprocess
import sys
from fractions import Fraction

import cv2
import numpy as np
import pytest
from networks import slow

from mtujax.deblur.api import deblur_video
from mtujax.deblur.output import PipeSink
from mtujax.errors import UnknownWeightsError, UsageError, UserError
from mtujax.model.stream import Stream
from mtujax.video.info import VideoInfo
from mtujax.video.reader import VideoReader
from mtujax.video.writer import VideoWriter


def scene(rng, count, height=16, width=24):
    """Frames of a smooth random picture that pans by a pixel at a time."""
    picture = rng.random((4, 6, 3), np.float32)
    picture = cv2.resize(
        picture, (width + count, height), interpolation=cv2.INTER_LINEAR
    )
    picture = (picture * 255).astype(np.uint8)
    return [picture[:, t : t + width] for t in range(count)]


def write_video(path, frames):
    height, width, _ = frames[0].shape
    info = VideoInfo(width, height, None, Fraction(25), Fraction(1, 25))
    with VideoWriter(path, info) as writer:
        for i, frame in enumerate(frames):
            writer.write(frame, i)
    return path


def read_video(path):
    with VideoReader(path) as reader:
        return [frame for frame, _ in reader.frames()]


def write_folder(path, frames, suffix=".png"):
    path.mkdir()
    for i, frame in enumerate(frames):
        cv2.imwrite(str(path / f"f{i}{suffix}"), frame[..., ::-1])
    return path


def read_folder(path, count):
    return [cv2.imread(str(path / f"f{i}.png"))[..., ::-1] for i in range(count)]


def streamed(tiny, frames):
    stream = Stream(*tiny)
    restored = [frame for f in frames for frame in stream.push(f)]
    return restored + stream.flush()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    "count, height, width", [(5, 16, 24), slow(1, 3, 5), slow(3, 1, 1)]
)
def test_a_folder_is_restored_as_the_stream_does(
    tmp_path, rng, tiny, count, height, width
):
    frames = scene(rng, count, height, width)
    source = write_folder(tmp_path / "in", frames)
    seen = []
    report = deblur_video(
        source,
        tmp_path / "out",
        weights=tiny,
        progress=lambda *now: seen.append(now),
    )
    found = read_folder(tmp_path / "out", count)
    np.testing.assert_array_equal(found, streamed(tiny, frames))
    assert (report.frames, report.size) == (count, (width, height))
    assert seen == [(i + 1, count) for i in range(count)]
    assert names(tmp_path / "out") == names(source)
    assert names(tmp_path) == ["in", "out"]


def test_a_deep_grey_folder_with_alpha_keeps_its_kind(tmp_path, rng, tiny):
    image = rng.integers(0, 65536, (6, 8), np.uint16)
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "a.png"), image)
    cv2.imwrite(str(tmp_path / "in" / "b.png"), np.dstack([image] * 4))
    deblur_video(tmp_path / "in", tmp_path / "out", weights=tiny)
    grey, alpha = (
        cv2.imread(str(tmp_path / "out" / name), cv2.IMREAD_UNCHANGED)
        for name in ("a.png", "b.png")
    )
    assert grey.dtype == alpha.dtype == np.uint16
    assert (grey.shape, alpha.shape) == ((6, 8), (6, 8, 4))
    np.testing.assert_array_equal(alpha[..., 3], image)


@pytest.mark.parametrize("height, width", [(16, 24), (3, 5), (1, 1)])
def test_a_video_keeps_count_size_and_looks(tmp_path, rng, tiny, height, width):
    frames = scene(rng, 7, height, width)
    source = write_video(tmp_path / "in.mp4", frames)
    report = deblur_video(source, tmp_path / "out.mp4", weights=tiny)
    wanted = streamed(tiny, read_video(source))
    found = read_video(tmp_path / "out.mp4")
    assert np.array(found).shape == (7, height, width, 3)
    assert np.abs(np.array(found).astype(float) - wanted).mean() < 6
    assert any("odd size" in note for note in report.notes) == bool(width % 2)
    assert names(tmp_path) == ["in.mp4", "out.mp4"]


def test_video_and_folder_are_made_of_each_other(tmp_path, rng, tiny):
    source = write_video(tmp_path / "in.mp4", scene(rng, 4))
    deblur_video(source, tmp_path / "frames", weights=tiny, start=0.04)
    assert names(tmp_path / "frames") == [f"frame_{i:06d}.png" for i in range(3)]
    report = deblur_video(tmp_path / "frames", tmp_path / "out.mp4", weights=tiny)
    assert any("30 frames/s" in note for note in report.notes)
    assert len(read_video(tmp_path / "out.mp4")) == 3


def test_ranges_are_seconds_of_a_video_and_numbers_of_frames(tmp_path, rng, tiny):
    frames = scene(rng, 6)
    source = write_folder(tmp_path / "in", frames)
    report = deblur_video(source, tmp_path / "out", weights=tiny, start=2, end=5)
    found = [cv2.imread(str(tmp_path / "out" / f"f{i}.png")) for i in (2, 3, 4)]
    np.testing.assert_array_equal(
        np.array(found)[..., ::-1], streamed(tiny, frames[2:5])
    )
    assert report.frames == 3
    video = write_video(tmp_path / "in.mp4", frames)
    report = deblur_video(video, tmp_path / "o.mp4", weights=tiny, end=0.1)
    assert report.frames == 3


def test_a_cut_restores_both_shots_as_if_alone(tmp_path, tiny):
    shots = [scene(np.random.default_rng(seed), 4) for seed in (1, 2)]
    shots[1] = [frame // 3 for frame in shots[1]]
    source = write_folder(tmp_path / "in", shots[0] + shots[1])
    report = deblur_video(source, tmp_path / "out", weights=tiny)
    alone = streamed(tiny, shots[0]) + streamed(tiny, shots[1])
    np.testing.assert_array_equal(read_folder(tmp_path / "out", 8), alone)
    assert report.cuts == 1
    off = deblur_video(source, tmp_path / "off", weights=tiny, scene_threshold=0)
    assert off.cuts == 0
    assert (np.array(read_folder(tmp_path / "off", 8)) != np.array(alone)).any()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"dtype": "float64"}, "dtype 'float64': did you mean float"),
        ({"scene_threshold": 1.5}, "threshold 1.5"),
        ({"start": -1.0}, "start -1"),
        ({"start": "00:01"}, "start '00:01': give a number"),
        ({"start": 3, "end": 2}, "end 2"),
        ({"start": 0.5}, "number of a frame"),
    ],
)
def test_settings_out_of_range_are_bad_use(tmp_path, rng, tiny, settings, message):
    source = write_folder(tmp_path / "in", scene(rng, 2))
    with pytest.raises(UsageError, match=message):
        deblur_video(source, tmp_path / "out", weights=tiny, **settings)


def test_outputs_that_cannot_or_should_not_be_written_are_refused(tmp_path, rng, tiny):
    video = write_video(tmp_path / "in.mp4", scene(rng, 2))
    folder = write_folder(tmp_path / "in", scene(rng, 2))
    (tmp_path / "link.mp4").symlink_to(video)
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed" / "letter.txt").write_text("keep me")
    before = names(tmp_path)
    cases = [
        (tmp_path / "none.mp4", "out.mp4", "no such file"),
        (video, "in.mp4", "the same"),
        (video, "./in/../in.mp4", "the same"),
        (video, "link.mp4", "the same"),
        (folder, "in", "the same"),
        (folder, "in/", "the same"),
        (folder, "link", "the same"),
        (folder, "in.mp4/out", "not a folder"),
        (folder, "none/out", "no such folder"),
        (folder, "mixed", "letter.txt"),
        (video, "out.gif", ".gif is not a video"),
        (video, "out.png", "a single image"),
    ]
    for source, output, message in cases:
        with pytest.raises(UserError, match=message):
            deblur_video(source, f"{tmp_path}/{output}", weights=tiny, overwrite=True)
    with pytest.raises(UnknownWeightsError):
        deblur_video(video, tmp_path / "out.mp4", weights="mtu2x")
    for source, output in ((video, "link.mp4"), (folder, "mixed")):
        source = write_folder(tmp_path / f"x{output}", scene(rng, 1))
        with pytest.raises(UserError, match="is a|exists|--overwrite"):
            deblur_video(source, tmp_path / output, weights=tiny)
    assert [n for n in names(tmp_path) if not n.startswith("x")] == before


def test_overwrite_replaces_files_and_folders_of_frames(tmp_path, rng, tiny):
    frames = scene(rng, 2)
    source = write_folder(tmp_path / "in", frames)
    old = write_folder(tmp_path / "out", [frames[0]] * 5)
    video = write_video(tmp_path / "out.mp4", [frames[0]] * 5)
    for output in (old, video):
        with pytest.raises(UserError, match="--overwrite"):
            deblur_video(source, output, weights=tiny)
        deblur_video(source, output, weights=tiny, overwrite=True)
    assert names(old) == names(source)
    assert len(read_video(video)) == 2
    assert names(tmp_path) == ["in", "out", "out.mp4"]


def test_a_range_without_frames_is_refused_and_leaves_nothing(tmp_path, rng, tiny):
    video = write_video(tmp_path / "in.mp4", scene(rng, 3))
    folder = write_folder(tmp_path / "in", scene(rng, 3))
    for source, output in ((video, "out.mp4"), (folder, "out")):
        with pytest.raises(UserError, match="no frame between 9 and the end"):
            deblur_video(source, tmp_path / output, weights=tiny, start=9)
    assert names(tmp_path) == ["in", "in.mp4"]


@pytest.mark.parametrize("output", ["out.mp4", "out"])
def test_an_interrupt_in_the_middle_leaves_nothing(tmp_path, rng, tiny, output):
    source = write_folder(tmp_path / "in", scene(rng, 6))

    def interrupt(done, _):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deblur_video(source, tmp_path / output, weights=tiny, progress=interrupt)
    assert names(tmp_path) == ["in"]


_LIMITED = """
import resource, sys
from mtujax.__main__ import main
resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000))
main(sys.argv[1:])
"""


@pytest.mark.parametrize("output", ["out.mp4", slow("out")])
def test_a_full_disk_is_one_line_and_leaves_nothing(
    tmp_path, rng, weights_file, output
):
    noise = rng.integers(0, 256, (8, 96, 128, 3), np.uint8)
    source = write_folder(tmp_path / "in", noise)
    words = ["deblur", source, tmp_path / output, "--weights", weights_file]
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, *words], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("mtujax: error: ") and done.stderr.count("\n") == 1
    assert f"{tmp_path / output}: File too large" in done.stderr
    assert names(tmp_path) == ["in"]


def test_the_alpha_of_a_folder_is_said_to_be_dropped_by_a_video(tmp_path, tiny):
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "a.png"), np.full((8, 8, 4), 99, np.uint8))
    report = deblur_video(tmp_path / "in", tmp_path / "out.mp4", weights=tiny)
    assert any("alpha" in note for note in report.notes)


def test_overwriting_a_link_replaces_what_it_leads_to(tmp_path, rng, tiny):
    source = write_folder(tmp_path / "in", scene(rng, 2))
    write_folder(tmp_path / "real", scene(rng, 1))
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real")
    deblur_video(source, link, weights=tiny, overwrite=True)
    assert link.is_symlink() and len(list((tmp_path / "real").iterdir())) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "link", "real"]


def test_the_current_folder_is_no_output(tmp_path, rng, tiny, monkeypatch):
    source = write_folder(tmp_path / "in", scene(rng, 1))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in (".", "..", "/"):
        with pytest.raises(UserError, match="the folder you are in"):
            deblur_video(source, name, weights=tiny)


def test_an_output_that_appears_meanwhile_is_not_replaced(tmp_path, rng, tiny):
    source = write_folder(tmp_path / "in", scene(rng, 2))
    output = tmp_path / "out.mp4"
    with pytest.raises(UserError, match="appeared in the meantime"):
        deblur_video(
            source,
            output,
            weights=tiny,
            progress=lambda *_: output.write_text("another's"),
        )
    assert output.read_text() == "another's"


def test_a_pipe_that_takes_nothing_more_is_named():
    with open("/dev/full", "wb", buffering=0) as file:
        with pytest.raises(OSError, match="No space left on device: '-'"):
            PipeSink(file).write(np.zeros((4, 4, 3), np.uint8), 0)
