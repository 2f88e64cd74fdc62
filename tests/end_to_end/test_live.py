"""`examples/live.py`: every frame's own latency, what it shows, and what it refuses."""

import importlib
import os
import signal
import subprocess
import sys

import camera
import cv2
import media
import numpy as np
import pytest
from camera import EXAMPLES, Camera, frame

from mtujax.config import PRESETS
from mtujax.errors import UsageError, UserError
from mtujax.model.stream import Stream
from mtujax.video.comparison import compare

source = camera.source


@pytest.fixture
def live(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("live")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return media.h264_mp4(tmp_path_factory.mktemp("video") / "in.mp4", media.scene(7))


def read(path):
    """The frames of a file as OpenCV gives them, RGB."""
    capture, frames = cv2.VideoCapture(str(path)), []
    while (frame := capture.read()[1]) is not None:
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    return frames


def restored(tiny, frames):
    stream = Stream(*tiny)
    return [f for frame in frames for f in stream.push(frame)] + stream.flush()


class Views:
    """Takes what a view is shown, in place of a file or a screen."""

    def __init__(self, quit_after=None):
        self.shown, self._quit_after = [], quit_after

    def show(self, done, line):
        self.shown.append((done, line))
        return len(self.shown) != self._quit_after


@pytest.fixture
def views(live, monkeypatch):
    """A screen that is a list."""
    views = Views()
    monkeypatch.setattr(live, "Window", lambda: views)
    return views


def test_latency_counts_from_each_frames_own_capture(live, monkeypatch, tiny):
    """A clock that ticks once a second whenever it is read; look-ahead 2."""
    ticks = iter(range(1000))
    monkeypatch.setattr(live, "clock", lambda: float(next(ticks)))
    shots = [
        live.Shot(frame(40 * n, (12, 8)), float(next(ticks)), n / 25) for n in range(4)
    ]
    done = list(live.restore(Stream(*tiny), iter(shots)))
    assert [d.shot.at for d in done] == [0, 1 / 25, 2 / 25, 3 / 25]
    # Captured at 0 to 3; pushes begin at 4, 5, 6 and 8; results are there at 7, 9, and,
    # drained, 11 and 13.
    assert [d.latency_ms for d in done] == [7e3, 8e3, 9e3, 10e3]
    assert [d.step_ms for d in done] == [1e3] * 4


def test_statistics_are_of_all_frames_and_the_line_of_the_last_second(
    live, monkeypatch
):
    times = iter([0.0, 0.25, 0.5, 2.0, 2.25])
    monkeypatch.setattr(live, "clock", lambda: next(times))
    meter = live.Meter(lookahead=2)
    assert not list(meter.summary())
    lines = []
    for latency in (10, 20, 30, 100, 200):
        lines.append(meter.add(live.Done(None, None, latency / 10, float(latency))))
    assert lines[0] == "10 ms (look-ahead 2), 0.0 frames/s"
    assert lines[2] == "20 ms (look-ahead 2), 4.0 frames/s"
    assert lines[4] == "150 ms (look-ahead 2), 4.0 frames/s"
    p50, p95, p99 = np.percentile([10, 20, 30, 100, 200], (50, 95, 99))
    assert list(meter.summary()) == [
        "5 frames, 1.8 frames/s",
        f"latency, look-ahead 2: p50 {p50:.1f}, p95 {p95:.1f}, p99 {p99:.1f} ms",
        f"step: p50 {p50 / 10:.1f}, p95 {p95 / 10:.1f}, p99 {p99 / 10:.1f} ms",
    ]


def test_unless_weights_are_named_no_frame_waits_for_another(live):
    assert PRESETS[live.parse(["0"]).weights].lookahead == 0


def test_a_file_comes_out_as_the_stream_restores_it(
    live, views, video, weights_file, tiny, capsys
):
    assert live.work([str(video), "--weights", str(weights_file)]) == 0
    frames = read(video)
    assert len(views.shown) == len(frames) == 7
    for (done, _), blurry, expected in zip(
        views.shown, frames, restored(tiny, frames), strict=True
    ):
        np.testing.assert_array_equal(done.shot.frame, blurry)
        np.testing.assert_array_equal(done.restored, expected)
    out = capsys.readouterr().out
    assert "7 frames" in out and "0 dropped" in out and "latency, look-ahead 2" in out


def test_quitting_and_a_number_of_frames_end_it(
    live, views, monkeypatch, video, weights_file
):
    words = [str(video), "--weights", str(weights_file)]
    assert live.work([*words, "--frames", "3"]) == 0
    assert len(views.shown) == 3  # the look-ahead's are not lost
    views = Views(quit_after=2)
    monkeypatch.setattr(live, "Window", lambda: views)
    assert live.work(words) == 0
    assert len(views.shown) == 2


def test_a_camera_that_ends_is_told_of_and_its_frames_are_kept(
    live, source, views, monkeypatch, weights_file, capsys, tmp_path
):
    camera = Camera(source)
    for n in range(3):  # the middle one may be dropped: nobody waits for the reader
        camera._frames.put(frame(90 * n, (32, 24)))
    camera.end()
    first = frame(0, (32, 24))
    monkeypatch.setattr(live, "open_source", lambda _: (first, 25, camera.shots))
    words = ["0", "--weights", str(weights_file), "--output", str(tmp_path / "o.mkv")]
    with pytest.raises(UserError, match="the source has ended"):
        live.work(words)
    count = len(views.shown)
    assert count + camera.shots.dropped == 3 and count >= 1
    assert len(read(tmp_path / "o.mkv")) == count
    assert f"{count} frames" in capsys.readouterr().out


def test_s_toggles_both_sides_and_q_quits(live, monkeypatch):
    pictures, sizes, keys = [], [], iter([ord("s"), ord("x"), ord("q")])
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
    monkeypatch.setattr(cv2, "imshow", lambda _, picture: pictures.append(picture))
    monkeypatch.setattr(cv2, "resizeWindow", lambda _, *size: sizes.append(size))
    monkeypatch.setattr(cv2, "waitKey", lambda _: next(keys))
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: 1.0)
    window, blurry, sharp = live.Window(), frame(60, (320, 180)), frame(90, (320, 180))
    done = live.Done(live.Shot(blurry, 0.0, 0.0), sharp, 1.0, 2.0)
    assert [window.show(done, "31 ms") for _ in range(3)] == [True, True, False]
    both = compare(blurry, sharp, "side")
    assert [p.shape for p in pictures] == [both.shape, (180, 320, 3), (180, 320, 3)]
    assert sizes == [both.shape[1::-1], (320, 180)]
    # The line is at the top, and nothing else is changed.
    np.testing.assert_array_equal(pictures[0][40:], both[40:])
    assert pictures[0][:20].max() > 200 and pictures[0][:10].min() < 30


def test_a_window_that_cannot_be_made_says_what_to_do(live, monkeypatch):
    def refuse(*_):
        raise cv2.error("The function is not implemented.")

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "namedWindow", refuse)
    with pytest.raises(
        UserError, match="pip install opencv-python, or give --headless"
    ):
        live.Window()
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(UserError, match="no screen .*: give --headless"):
        live.Window()


@pytest.mark.parametrize(
    "words, kind, message",
    [
        ("", UsageError, "required: source"),
        ("{v} --size 640", UsageError, "'640': give it as 640x360"),
        ("{v} --frames 0", UsageError, "'0': must be a number above 0"),
        ("{v} --frames ²", UsageError, "'²': must be a number above 0"),
        ("{v} --headless --side", UsageError, "are about --output, which is missing"),
        ("² --headless", UserError, "²: no such file; or give a camera's number"),
        ("9" * 20 + " --headless", UserError, "gives no frame; is it there"),
        ("{v} --weights mtu --headless", UsageError, "unknown weights 'mtu'"),
        ("nothing.mp4 --headless", UserError, "nothing.mp4: no such file"),
        ("{py} --headless", UserError, "gives no frame; is it a video"),
        ("987 --headless", UserError, "camera 987: gives no frame; is it there"),
        ("{v} --headless --output {v}", UserError, "output and input are the same"),
        ("{v} --headless --output {t}/x.gif", UserError, ".gif: not a video format"),
        ("0 --output {t}/none/x.mp4", UserError, "none: no such folder"),
    ],
)
def test_what_cannot_be_done_is_refused(live, video, tmp_path, words, kind, message):
    names = {"v": video, "t": tmp_path, "py": __file__}
    with pytest.raises(UserError, match=message) as error:
        live.work(words.format(**names).split())
    assert isinstance(error.value, kind) and "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_headless_writes_both_sides_of_as_many_frames_as_came(
    live, video, weights_file, tiny, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    words = ["--headless", "--side", "--output", "out.mkv"]
    assert live.work([str(video), *words, "--weights", str(weights_file)]) == 0
    out = capsys.readouterr().out
    assert "7 frames" in out and "latency, look-ahead 2: p50 " in out
    blurry, found = read(video), read(tmp_path / "out.mkv")
    assert os.listdir(tmp_path) == ["out.mkv"]
    for picture, *pair in zip(found, blurry, restored(tiny, blurry), strict=True):
        both = compare(*pair, "side")
        difference = picture[16:].astype(int) - both[16:]  # below the line of text
        assert np.abs(difference).mean() < 6  # H.264


def start(*words, **options):
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": ""}
    return subprocess.Popen(
        [sys.executable, EXAMPLES / "live.py", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def test_one_line_and_the_status_for_bad_use_in_the_real_process(video):
    process = start(video, "--dtype", "f8")
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 2 and not out
    assert errors.startswith("live.py: error: argument --dtype: invalid choice: 'f8'")
    assert errors.count("\n") == 1


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_keeps_what_was_recorded(weights_file, tmp_path):
    video = media.clip(tmp_path / "long.mp4", media.scene(20) * 100)
    words = ("--headless", "--output", "out.mkv", "--weights", weights_file)
    process = start(video, *words, cwd=tmp_path)
    for _ in range(4):  # two of them of frames: the first one's is over by then
        assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert errors == "live.py: interrupted\n"
    assert process.returncode == 130
    assert "latency, look-ahead 2" in out
    assert 1 <= len(read(tmp_path / "out.mkv")) < 2000
