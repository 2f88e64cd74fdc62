"""Deblurs a camera frame by frame and shows how late each restored frame comes.

    python examples/live.py 0                                     # the first camera
    python examples/live.py rtsp://HOST/STREAM --size 640x360
    python examples/live.py clip.mp4 --headless --output sharp.mp4

In the window: s for side by side or the restored frame alone, q or Esc to quit. A
camera's frames that come while one is computed are left out, and counted; of a file
none is. docs/how-to/live-camera.md says what the latency means.
"""

import argparse
import collections
import contextlib
import itertools
import os
import re
import signal
import sys
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # failures are reported below
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np
from live_source import Shot, clock, open_source, prepared

import mtujax
from mtujax.bench.timing import statistics
from mtujax.cli.entry import explain
from mtujax.common.files import check_output, whole_output
from mtujax.common.hardware import use_cache
from mtujax.config import LIVE_WEIGHTS
from mtujax.errors import UsageError, UserError
from mtujax.video.comparison import compare, view_size
from mtujax.video.info import VideoInfo
from mtujax.video.writer import VideoWriter

KEPT = 100_000  # frames that the final statistics look back on
TICK = Fraction(1, 90_000)  # seconds; the clock of a recording


class Done(NamedTuple):
    """A frame and its restored form, [H, W, 3] uint8 RGB, now on the host."""

    shot: Shot
    restored: np.ndarray
    step_ms: float  # since the network got the last frame that it waited for
    latency_ms: float  # since this frame was captured


def restore(stream, shots):
    """Yields each frame as soon as its restored form is on the host."""
    waiting = collections.deque()

    def done(restored, start):
        now, shot = clock(), waiting.popleft()
        return Done(shot, restored, 1e3 * (now - start), 1e3 * (now - shot.captured))

    for shot in shots:
        waiting.append(shot)
        start = clock()
        for restored in stream.push(shot.frame):
            yield done(restored, start)
    rest = stream.drain()
    while waiting:
        start = clock()
        yield done(next(rest).restored, start)


class Meter:
    """Sums up how late frames come."""

    def __init__(self, lookahead):
        """Takes the number of frames that the network looks ahead."""
        self._late = f"look-ahead {lookahead}"
        self._times = collections.deque(maxlen=KEPT)  # when, latency and step in ms
        self._recent = collections.deque()  # those of the last second, at least two

    def add(self, done):
        """Counts a frame that has just been restored; gives a line for the screen."""
        times = now, *_ = (clock(), done.latency_ms, done.step_ms)
        for kept in self._times, self._recent:
            kept.append(times)
        while len(self._recent) > 2 and self._recent[0][0] < now - 1:
            self._recent.popleft()
        p50 = statistics([latency for _, latency, _ in self._recent]).p50
        return f"{p50:.0f} ms ({self._late}), {_rate(self._recent)}"

    def summary(self):
        """All of it, in lines; none if no frame was restored."""
        if not self._times:
            return
        yield f"{len(self._times)} frames, {_rate(self._times)}"
        _, latencies, steps = zip(*self._times, strict=True)
        for name, times in (f"latency, {self._late}", latencies), ("step", steps):
            s = statistics(times)
            yield f"{name}: p50 {s.p50:.1f}, p95 {s.p95:.1f}, p99 {s.p99:.1f} ms"


def _rate(times):
    seconds = times[-1][0] - times[0][0]
    return f"{(len(times) - 1) / seconds if seconds else 0:.1f} frames/s"


def overlay(picture, line):
    """The picture with a line of text on a dark strip at its top."""
    height, width = picture.shape[:2]
    font, picture = cv2.FONT_HERSHEY_SIMPLEX, picture.copy()
    scale = min(height / 500, 0.94 * width / cv2.getTextSize(line, font, 1, 1)[0][0])
    picture[: round(44 * scale)] //= 3
    place, white = (round(0.02 * width), round(32 * scale)), (255, 255, 255)
    return cv2.putText(picture, line, place, font, scale, white, 1, cv2.LINE_AA)


def pictured(done, line, side):
    """What is shown of a frame: on both sides of a divider, or restored alone."""
    blurry, restored = done.shot.frame, done.restored
    return overlay(compare(blurry, restored, "side") if side else restored, line)


class Window:
    """Shows frames on the screen."""

    TITLE = "mtujax live"

    def __init__(self):
        """Opens a window, or says what it takes to have one."""
        self._side, self._size = True, None
        screens = {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ)
        if sys.platform.startswith("linux") and not screens:  # Qt would end us
            raise UserError("there is no screen for a window: give --headless")
        plain = cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL
        try:
            cv2.namedWindow(self.TITLE, plain)
        except cv2.error:
            raise UserError(
                "OpenCV has no windows here: pip install opencv-python, "
                "or give --headless"
            ) from None

    def show(self, done, line):
        """Shows a frame; False once the user wants to quit."""
        picture = pictured(done, line, self._side)
        if self._size != (size := picture.shape[1::-1]):  # at first, and after s
            cv2.resizeWindow(self.TITLE, *size)
            self._size = size
        cv2.imshow(self.TITLE, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        key = cv2.waitKey(1) & 0xFF
        self._side ^= key == ord("s")
        closed = cv2.getWindowProperty(self.TITLE, cv2.WND_PROP_VISIBLE) < 1
        return not (closed or key in (ord("q"), 27))


def recording(stack, path, size, rate, side):
    """A view that writes the restored frames, or both sides, into a video file."""
    path = stack.enter_context(whole_output(path, folder=False))
    info = VideoInfo(*(view_size("side", *size) if side else size), None, rate, TICK)
    writer = stack.enter_context(VideoWriter(path, info))

    def show(done, line):
        picture = pictured(done, line, True) if side else done.restored
        writer.write(picture, round(done.shot.at / TICK))
        return True

    return show


def printer():
    """A view that prints the line, once a second."""
    last = -np.inf

    def show(done, line):
        nonlocal last
        if clock() > last + 1:
            last = clock()
            print(line, flush=True)
        return True

    return show


def size_of(text):
    if not re.fullmatch("0*[1-9][0-9]*x0*[1-9][0-9]*", text):
        raise argparse.ArgumentTypeError(f"{text!r}: give it as 640x360")
    return tuple(map(int, text.split("x")))


def count(text):
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number above 0")
    return int(text)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message):
        """Refuses bad use."""
        raise UsageError(f"{message}; see --help")


def parse(words):
    title, _, details = __doc__.partition("\n")
    raw = argparse.RawDescriptionHelpFormatter
    parser = Parser("live.py", None, title, details, formatter_class=raw)
    parser.add_argument("source", help="camera number, video file, URL")
    parser.add_argument("--weights", default=LIVE_WEIGHTS, help="bundled name or file")
    parser.add_argument("--size", type=size_of, help="WIDTHxHEIGHT to resize to")
    dtypes = ("float32", "bfloat16", "float16")
    parser.add_argument("--dtype", choices=dtypes, help="precision to compute in")
    parser.add_argument("--frames", type=count, help="stop after that many")
    parser.add_argument("--output", type=Path, help="video file for the restored ones")
    parser.add_argument("--side", action="store_true", help="both sides in --output")
    parser.add_argument("--overwrite", action="store_true", help="replace --output")
    parser.add_argument("--headless", action="store_true", help="no window")
    args = parser.parse_args(words)
    if (args.side or args.overwrite) and not args.output:
        parser.error("--side and --overwrite are about --output, which is missing")
    return args


def work(words):
    """Does what a command line asks for; gives the exit status."""
    args = parse(words)
    if args.output:
        file = Path(args.source) if Path(args.source).exists() else Path.cwd()
        check_output(file, args.output, folder=False, overwrite=args.overwrite)
    model, params = mtujax.load(args.weights, dtype=args.dtype, optimized=True)
    with contextlib.ExitStack() as stack:
        first, rate, source = open_source(args.source)
        stack.enter_context(contextlib.closing(source))
        size = args.size or first.shape[1::-1]
        views = [printer() if args.headless else Window().show]
        if args.output:
            views.append(recording(stack, args.output, size, rate, args.side))
        stream = mtujax.Stream(model, params)
        warm_up(stream, size)
        shots = prepared(source, size, resize=args.size is not None)
        frames, meter = itertools.islice(shots, args.frames), Meter(stream.latency)
        status = show_all(restore(stream, frames), meter, source, views)
    print(*meter.summary(), f"{source.dropped} dropped", sep="\n")
    if source.failure:
        raise UserError(source.failure)
    return status


def show_all(frames, meter, source, views):
    """Shows restored frames until there are no more or the user ends it."""
    shown = 0
    try:
        for done in frames:
            line = f"{meter.add(done)}, {source.dropped} dropped"
            if not all([show(done, line) for show in views]):
                break
            shown += 1
    except SystemExit as interrupted:
        if not shown:
            raise
        return interrupted.code  # and not raised: what was recorded is kept
    return 0


def warm_up(stream, size):
    """Compiles the network for frames of that size, before any has to wait."""
    print(f"compiling for {size[0]}x{size[1]} ...", flush=True)
    start = clock()
    for _ in range(stream.latency + 1):
        stream.push(np.zeros((*size[::-1], 3), np.uint8))
    stream.reset()
    print(f"ready after {clock() - start:.1f} s", flush=True)


def say(line):
    print(f"live.py: {line}", file=sys.stderr, flush=True)


def stop(number, _):
    say("interrupted")
    sys.exit(128 + number)


def main():
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    use_cache(None)
    try:
        sys.exit(work(sys.argv[1:]))
    except Exception as error:
        if (explained := explain(error)) is None:
            raise
        say(f"error: {explained[1]}")
        sys.exit(explained[0])


if __name__ == "__main__":
    main()
