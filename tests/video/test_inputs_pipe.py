"""Raw frames through real pipes: no byte lost, and clear words where one is."""

import io
import os
import subprocess
import sys
import threading
from fractions import Fraction

import numpy as np
import pytest

from mtujax.errors import UsageError, UserError
from mtujax.video.inputs import RawReader, RawWriter, parse_rate, parse_size

RATE = Fraction(25)


@pytest.fixture
def frames(rng):
    return rng.integers(0, 256, (5, 6, 8, 3), np.uint8)


def reader(data, rate=RATE):
    return RawReader(io.BytesIO(data), 8, 6, rate)


def test_the_info_says_what_was_told(frames):
    info = reader(frames.tobytes(), Fraction(30000, 1001)).info
    assert (info.width, info.height, info.frames) == (8, 6, None)
    assert (info.rate, info.time_base) == (Fraction(30000, 1001), Fraction(1001, 30000))
    assert info.aspect == 1 and not info.counted


@pytest.mark.parametrize("buffering", [-1, 0])
@pytest.mark.parametrize("blocking", [True, False])
def test_frames_come_whole_out_of_a_pipe_that_gives_pieces(frames, buffering, blocking):
    out, into = os.pipe()
    os.set_blocking(out, blocking)

    def feed():
        data = frames.tobytes()
        for first in range(0, len(data), 37):
            os.write(into, data[first : first + 37])
        os.close(into)

    thread = threading.Thread(target=feed)
    thread.start()
    with open(out, "rb", buffering=buffering) as file:
        with RawReader(file, 8, 6, RATE) as source:
            found = list(source.frames())
    thread.join()
    np.testing.assert_array_equal([frame for frame, _ in found], frames)
    assert [pts for _, pts in found] == [0, 1, 2, 3, 4]
    assert source.late_notes == ()


def test_frames_stay_as_they_were_given(frames):
    """Whoever holds some back must not find later ones in their memory."""
    held = [frame for frame, _ in reader(frames.tobytes()).frames()]
    assert len({frame.ctypes.data for frame in held}) == 5


@pytest.mark.parametrize(
    "start, end, wanted",
    [
        (None, None, [0, 1, 2, 3, 4]),
        (0.0, None, [0, 1, 2, 3, 4]),
        (0.08, None, [2, 3, 4]),
        (0.07, 0.12, [2]),
        (None, 0.12, [0, 1, 2]),
        (9.0, None, []),
    ],
)
def test_a_range_is_in_seconds_and_restarts_the_timestamps(frames, start, end, wanted):
    found = list(reader(frames.tobytes()).frames(start=start, end=end))
    assert [pts for _, pts in found] == list(range(len(wanted)))
    for (frame, _), number in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(frame, frames[number])


def test_skipped_frames_keep_the_timestamps_of_the_rest(frames):
    found = list(reader(frames.tobytes()).frames(start=0.04, skip=2))
    assert [pts for _, pts in found] == [2, 3]
    np.testing.assert_array_equal([frame for frame, _ in found], frames[3:])


def test_nothing_is_read_beyond_the_end_of_a_range(frames):
    """A live source would make the last frame wait for one that nobody wants."""
    file = io.BytesIO(frames.tobytes())
    source = RawReader(file, 8, 6, RATE)
    assert len(list(source.frames(end=0.08))) == 2
    assert file.tell() == 2 * frames[0].nbytes


def test_a_pipe_is_read_once(frames):
    source = reader(frames.tobytes())
    list(source.frames())
    with pytest.raises(ValueError, match="-: a pipe can be read only once"):
        next(source.frames())


def test_a_partial_frame_at_the_end_is_dropped_and_told(frames):
    source = reader(frames.tobytes()[:-100])
    assert len(list(source.frames())) == 4
    assert source.late_notes == (
        "the last 44 bytes are no whole frame of 8x6 (144 bytes): is --size right?",
    )


def test_input_without_a_frame_is_refused_in_one_line(frames):
    with pytest.raises(UserError, match="^-: is empty$"):
        reader(b"")
    with pytest.raises(UserError, match="^-: the last 9 bytes .* is --size right.$"):
        reader(frames.tobytes()[:9])


def test_terminals_are_refused():
    outer, inner = os.openpty()
    with open(inner, "r+b", buffering=0) as terminal:
        with pytest.raises(UserError, match="^-: is a terminal; pipe raw .* of 8x6 in"):
            RawReader(terminal, 8, 6, RATE)
        with pytest.raises(UserError, match="^-: is a terminal; pipe the frames"):
            RawWriter(terminal)
    os.close(outer)


def test_frames_are_written_as_their_bytes(frames):
    file = io.BytesIO()
    with RawWriter(file) as writer:
        for number, frame in enumerate(frames):
            writer.write(frame[:, ::-1], number)
        writer.close()
    assert not writer.notes
    np.testing.assert_array_equal(
        np.frombuffer(file.getvalue(), np.uint8).reshape(frames.shape),
        frames[:, :, ::-1],
    )


def test_float_frames_are_rounded():
    file = io.BytesIO()
    values = np.array([-0.5, 0.0, 0.499 / 255, 0.501 / 255, 1.0, 1.5], np.float32)
    RawWriter(file).write(values.reshape(1, 2, 3), 0)
    assert list(file.getvalue()) == [0, 0, 0, 1, 255, 255]


def test_what_was_written_to_the_file_before_comes_first(frames, tmp_path):
    with open(tmp_path / "out", "wb") as file:
        file.write(b"before")
        RawWriter(file).write(frames[0], 0)
        file.write(b"after")
    assert (tmp_path / "out").read_bytes() == b"before" + frames[0].tobytes() + b"after"


def test_a_full_pipe_that_does_not_block_is_waited_for(rng):
    frame = rng.integers(0, 256, (200, 400, 3), np.uint8)  # a pipe holds 64 KiB
    out, into = os.pipe()
    os.set_blocking(into, False)
    found = []

    def drain():
        with open(out, "rb") as file:
            found.append(file.read())

    thread = threading.Thread(target=drain)
    thread.start()
    with open(into, "wb") as file:
        RawWriter(file).write(frame, 0)
    thread.join()
    assert found == [frame.tobytes()]


_COPY = """
import sys
from fractions import Fraction
from mtujax.video.inputs import RawReader, RawWriter
with RawReader(sys.stdin.buffer, 320, 180, Fraction(30)) as reader:
    with RawWriter(sys.stdout.buffer) as writer:
        try:
            for frame, pts in reader.frames():
                writer.write(frame, pts)
        except OSError as error:
            sys.exit(f"error: {error.strerror}")
print(*reader.late_notes, end="", file=sys.stderr)
"""


def copier():
    pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
    return subprocess.Popen([sys.executable, "-c", _COPY], **pipes)


def test_a_program_between_two_pipes_passes_every_byte_on(rng):
    data = rng.integers(0, 256, (4, 180, 320, 3), np.uint8).tobytes()
    out, errors = (process := copier()).communicate(data + b"more")
    assert out == data and process.returncode == 0
    assert errors.startswith(b"the last 4 bytes are no whole frame of 320x180")


def test_a_reader_that_leaves_early_is_one_error_and_no_noise(rng):
    process = copier()
    process.stdin.write(bytes(180 * 320 * 3))
    process.stdin.flush()
    process.stdout.read(10)
    process.stdout.close()
    with process.stdin as pipe:
        try:
            pipe.write(bytes(2 * 180 * 320 * 3))
        except BrokenPipeError:  # it may be gone before it has read all
            pass
    assert process.stderr.read() == b"error: Broken pipe\n"
    process.stderr.close()
    assert process.wait() == 1


def test_sizes_are_read():
    assert parse_size("640x360") == (640, 360)
    assert parse_size(" 1X32768 ") == (1, 32768)
    assert parse_size("1920×1080") == (1920, 1080)


@pytest.mark.parametrize(
    "text", ["", "640", "640x", "x360", "0x9", "640x-1", "6.5x3", "32769x1", "1x2x3"]
)
def test_what_is_no_size_is_bad_use(text):
    with pytest.raises(UsageError, match="^size '.*': give width x height"):
        parse_size(text)


@pytest.mark.parametrize(
    "text, rate",
    [
        ("30", (30, 1)),
        ("30.0", (30, 1)),
        ("30000/1001", (30000, 1001)),
        ("29.97", (30000, 1001)),
        ("29.970", (30000, 1001)),
        ("29.97003", (30000, 1001)),
        ("23.976", (24000, 1001)),
        ("23.98", (24000, 1001)),
        ("59.94", (60000, 1001)),
        ("119.88", (120000, 1001)),
        ("29.96", (2996, 100)),
        ("29.971", (29971, 1000)),
        ("12.5", (25, 2)),
        ("0.5", (1, 2)),
        (" 1000 ", (1000, 1)),
    ],
)
def test_rates_are_read_and_those_of_ntsc_meant_exactly(text, rate):
    assert parse_rate(text) == Fraction(*rate)


@pytest.mark.parametrize(
    "text", ["", "0", "-5", "fast", "30fps", "1e3", "30/0", "1/2/3", "nan", "1001", "."]
)
def test_what_is_no_rate_is_bad_use(text):
    with pytest.raises(UsageError, match="^rate '.*': give frames per second"):
        parse_rate(text)
