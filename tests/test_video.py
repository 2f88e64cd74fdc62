from fractions import Fraction

import av
import numpy as np
import pytest

from mtujax.errors import UserError
from mtujax.video.info import Colour, VideoInfo
from mtujax.video.reader import VideoReader
from mtujax.video.writer import VideoWriter

COLOURS = [(200, 40, 90), (20, 180, 60), (30, 60, 220), (255, 255, 255), (0, 0, 0)]


def info(width=32, height=24, **fields):
    defaults = {"rate": Fraction(30), "time_base": Fraction(1, 30)}
    return VideoInfo(width, height, None, **(defaults | fields))


def flat(colour, width=32, height=24):
    return np.full((height, width, 3), colour, np.uint8)


def write(path, frames, *, times=None, **fields):
    height, width, _ = frames[0].shape
    with VideoWriter(path, info(width, height, **fields)) as writer:
        for i, frame in enumerate(frames):
            writer.write(frame, times[i] if times else i)
    return path


def read(path, **where):
    with VideoReader(path) as reader:
        frames = list(reader.frames(**where))
        return reader.info, [f for f, _ in frames], [t for _, t in frames]


def encode(path, frames, *, pix_fmt="yuv420p", matrix=None, full=False, audio=False):
    """A file as another program would make it: tags only where `matrix` is given."""
    height, width, _ = frames[0].shape
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        if matrix is not None:
            stream.codec_context.colorspace = matrix
            stream.codec_context.color_range = 2 if full else 1
        if audio:
            sound = container.add_stream("aac", rate=44100)
            silence = np.zeros((1, 1024), np.float32)
            chunk = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            chunk.sample_rate = 44100
        for frame in frames:
            frame = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(
                format=pix_fmt,
                dst_colorspace=matrix or 5,
                dst_color_range=2 if full else 1,
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if audio:
            container.mux(sound.encode(chunk))
            container.mux(sound.encode())
    return path


def close(frames, colour, levels):
    return np.abs(np.array(frames).astype(int) - np.array(colour)).max() <= levels


@pytest.mark.parametrize("matrix", [1, 5, 9])
def test_flat_colours_survive_writing_and_reading(tmp_path, matrix):
    for colour in COLOURS:
        path = write(
            tmp_path / "a.mp4", [flat(colour)] * 2, colour=Colour(matrix, 2, 2)
        )
        found, frames, _ = read(path)
        assert close(frames, colour, 2)
        assert found.colour.matrix in ((5, 6) if matrix == 5 else (matrix,))


def test_the_luma_written_is_that_of_bt709(tmp_path):
    red, green, blue = 200, 40, 90
    path = write(tmp_path / "a.mp4", [flat((red, green, blue))])
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    luma = 16 + 219 / 255 * (0.2126 * red + 0.7152 * green + 0.0722 * blue)
    assert abs(int(frame.to_ndarray()[0, 0]) - luma) <= 1
    assert (frame.colorspace, frame.color_range) == (1, 1)


def test_matrix_and_range_of_the_input_are_heeded(tmp_path):
    for matrix, full in ((1, False), (1, True), (5, True), (None, False)):
        for colour in COLOURS[:3]:
            path = encode(
                tmp_path / "a.mp4", [flat(colour)] * 2, matrix=matrix, full=full
            )
            found, frames, _ = read(path)
            assert close(frames, colour, 3)
            assert found.full_range == full


@pytest.mark.parametrize("width, height", [(1, 1), (5, 3), (31, 24), (32, 24)])
def test_sizes_and_frame_counts_are_exact(tmp_path, width, height):
    frames = [flat(c, width, height) for c in COLOURS]
    path = tmp_path / "a.mp4"
    with VideoWriter(path, info(width, height)) as writer:
        for i, frame in enumerate(frames):
            writer.write(frame, i)
    assert bool(writer.notes) == bool(width % 2 or height % 2)
    found, restored, _ = read(path)
    assert (found.width, found.height, found.frames) == (width, height, 5)
    assert [f.shape for f in restored] == [(height, width, 3)] * 5


def test_timestamps_of_variable_rate_and_late_start_are_kept(tmp_path):
    times, base = [3000, 6003, 9000, 18000, 18900], Fraction(1, 90000)
    for suffix in (".mp4", ".mov", ".mkv"):
        path = write(
            tmp_path / f"a{suffix}", [flat(COLOURS[0])] * 5, times=times, time_base=base
        )
        found, _, read_times = read(path)
        seconds = [float(t * found.time_base) for t in read_times]
        wanted = [t / 90000 for t in times]
        np.testing.assert_allclose(
            seconds, wanted, atol=1e-3 if suffix == ".mkv" else 0
        )


def test_a_range_starts_and_ends_where_asked_and_counts_time_from_its_start(tmp_path):
    frames = [flat((4 * i, 4 * i, 4 * i)) for i in range(60)]
    path = write(tmp_path / "a.mp4", frames)
    for start, end, wanted in ((0.5, 1.0, range(15, 30)), (1.5, None, range(45, 60))):
        _, found, times = read(path, start=start, end=end)
        assert [round(f.mean() / 4) for f in found] == list(wanted)
        assert times[0] == 0
    assert read(path, start=9.0)[1] == []
    with VideoReader(path) as reader:  # twice from one reader
        assert [len(list(reader.frames())) for _ in range(2)] == [60, 60]


@pytest.mark.parametrize("suffix", ["h264", "ts", "webm"])
def test_files_without_index_or_timestamps_can_be_entered_anywhere(tmp_path, suffix):
    path, codec = tmp_path / f"a.{suffix}", "libx264"
    if suffix == "webm":
        codec = "libvpx-vp9"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for i in range(40):
            frame = av.VideoFrame.from_ndarray(flat((6 * i,) * 3, 32, 32))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    for start, end, wanted in ((None, None, 40), (0.4, 0.8, 10), (1.2, None, 10)):
        _, frames, times = read(path, start=start, end=end)
        assert len(frames) == wanted and times == sorted(set(times))
        assert abs(frames[0].mean() - 6 * 25 * (start or 0)) < 4


def test_rotated_video_is_turned_upright(tmp_path):
    frame = flat((0, 0, 0), 32, 24)
    frame[:12, :16] = 255  # top left of what is coded
    path = write(tmp_path / "a.mp4", [frame] * 2)
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    clockwise = [0, 1, 0, -1, 0, 0, 0, 0, 16384]  # as phones held upright write it
    data[matrix : matrix + 36] = b"".join(
        (v * 65536).to_bytes(4, "big", signed=True) for v in clockwise
    )
    path.write_bytes(data)
    found, frames, _ = read(path)
    assert (found.width, found.height) == (24, 32)
    assert frames[0].shape == (32, 24, 3)
    assert frames[0][:16, 12:].mean() > 250 and frames[0][:, :10].mean() < 5
    assert any("upright" in note for note in found.notes)


def test_what_is_lost_is_named(tmp_path):
    path = encode(
        tmp_path / "a.mp4", [flat(COLOURS[0])] * 3, pix_fmt="yuv420p10le", audio=True
    )
    found, frames, _ = read(path)
    assert len(frames) == 3 and close(frames, COLOURS[0], 3)
    assert any("audio (aac)" in note for note in found.notes)
    assert any("10-bit" in note for note in found.notes)


def test_what_is_no_whole_video_is_refused(tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    cut = encode(tmp_path / "cut.mp4", [flat(COLOURS[0])] * 9)  # its index is last
    cut.write_bytes(cut.read_bytes()[:-400])
    for path in (text, cut):
        with pytest.raises(UserError, match=f"{path.name}: cannot be read as a video"):
            VideoReader(path)


def test_a_size_that_h264_cannot_hold_names_the_way_out(tmp_path):
    with pytest.raises(UserError, match="20000x16.*folder"):
        VideoWriter(tmp_path / "a.mp4", info(20000, 16))
