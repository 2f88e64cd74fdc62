from fractions import Fraction

import av
import media
import numpy as np
import pytest

KINDS = {
    # maker, suffix: codec, pixel format, (matrix, range, primaries, transfer), sound
    (media.h264_mp4, ".mp4"): ("h264", "yuv420p", (1, 1, 1, 1), "aac"),
    (media.hevc_mov, ".mov"): ("hevc", "yuv420p", (1, 1, 2, 2), "pcm_s16le"),
    (media.vp9_webm, ".webm"): ("vp9", "yuv420p", (2, 1, 2, 2), "opus"),
    (media.av1_mkv, ".mkv"): ("av1", "yuv420p", (2, 1, 2, 2), "opus"),
    (media.mpeg2_mpg, ".mpg"): ("mpeg2video", "yuv420p", (2, 1, 2, 2), "mp2"),
    (media.mpeg2_ts, ".ts"): ("mpeg2video", "yuv420p", (2, 1, 2, 2), "mp2"),
    (media.h264_ts, ".ts"): ("h264", "yuv420p", (2, 0, 2, 2), "aac"),
    (media.mjpeg_avi, ".avi"): ("mjpeg", "yuvj420p", (5, 2, 2, 2), "pcm_s16le"),
    (media.bt601_small, ".mp4"): ("h264", "yuv420p", (6, 1, 6, 6), None),
    (media.full_range, ".mkv"): ("h264", "yuvj420p", (1, 2, 2, 2), None),
    (media.ten_bit_sdr, ".mp4"): ("hevc", "yuv420p10le", (1, 1, 2, 2), None),
}


@pytest.mark.parametrize(("maker", "suffix"), KINDS)
def test_kinds_hold_the_scene_and_its_clicks(tmp_path, maker, suffix):
    path = maker(tmp_path / f"a{suffix}")
    found = media.probe(path)
    codec, pix_fmt, colour, sound = KINDS[maker, suffix]
    assert (found.codec, found.pix_fmt, found.colour) == (codec, pix_fmt, colour)
    assert found.frames == 20 and found.size == (64, 48) and not found.interlaced
    seconds = np.array(found.pts) * float(found.time_base)
    np.testing.assert_allclose(np.diff(seconds), 0.04, atol=1e-6)
    assert psnr(media.decode(path), media.scene()) > 33
    assert [s[1] for s in found.streams if s[0] == "audio"] == (
        [sound] if sound else []
    )
    if sound:
        clicks = np.array(media.ticks(path)) - seconds[0]
        np.testing.assert_allclose(clicks, [0.2, 0.4, 0.6], atol=2e-3)


def psnr(frames, others):
    error = np.array(frames).astype(float) - np.array(others)
    return 10 * np.log10(255**2 / np.mean(error**2))


@pytest.mark.parametrize("suffix", [".mp4", ".ts"])
def test_a_late_start_is_late_for_pictures_and_sound(tmp_path, suffix):
    path = media.h264_ts(tmp_path / f"a{suffix}")
    found = media.probe(path)
    assert found.pts[0] * found.time_base == 10
    np.testing.assert_allclose(media.ticks(path), [10.2, 10.4, 10.6], atol=2e-3)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_variable_rate_keeps_its_times(tmp_path, suffix):
    found = media.probe(media.variable_rate(tmp_path / f"a{suffix}"))
    milliseconds = [pts * found.time_base * 1000 for pts in found.pts]
    assert (
        np.diff(milliseconds).tolist() == np.resize([20, 90, 33, 34, 40], 19).tolist()
    )


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_turned_and_mirrored(tmp_path, suffix):
    upright = media.probe(media.portrait(tmp_path / f"a{suffix}"))
    mirrored = media.probe(media.mirrored(tmp_path / f"b{suffix}"))
    assert upright.rotation == mirrored.rotation == 90
    one = 1 << 16
    assert upright.display[:5] == (0, -one, 0, one, 0)
    assert mirrored.display[:5] == (0, -one, 0, -one, 0)


@pytest.mark.parametrize(("maker", "transfer"), [(media.hdr10, 16), (media.hlg, 18)])
def test_hdr_is_tagged_and_graded(tmp_path, maker, transfer):
    path = maker(tmp_path / "a.mp4")
    found = media.probe(path)
    assert found.colour == (9, 1, 9, transfer) and found.pix_fmt == "yuv420p10le"
    assert 90 < np.mean(media.decode(path)) < 170  # greyer than the scene, as PQ is
    with av.open(str(path)) as container:
        data = next(container.decode(video=0)).side_data
        mastered = data.get("MASTERING_DISPLAY_METADATA") is not None
    assert mastered == (transfer == 16)


@pytest.mark.parametrize(
    ("codec", "suffix"), [("libx264", ".mp4"), ("mpeg2video", ".mpg")]
)
@pytest.mark.parametrize("top_first", [True, False])
def test_interlaced_frames_hold_two_moments(tmp_path, codec, suffix, top_first):
    path = media.interlaced(tmp_path / f"a{suffix}", codec=codec, top_first=top_first)
    assert media.probe(path).interlaced and media.probe(path).frames == 20
    woven, moments = np.array(media.decode(path)), np.array(media.scene(40))
    for rows in (0, 1):
        early = rows == (0 if top_first else 1)
        field = woven[:, rows::2].mean(-1)
        right = moments[0 if early else 1 :: 2, rows::2].mean(-1)
        wrong = moments[1 if early else 0 :: 2, rows::2].mean(-1)
        assert 2 * np.abs(field - right).mean() < np.abs(field - wrong).mean()


def test_sizes_and_aspects(tmp_path):
    assert media.probe(media.odd_size(tmp_path / "a.mp4")).size == (65, 49)
    found = media.probe(media.odd_size(tmp_path / "a.webm"))
    assert found.size == (65, 49) and found.pix_fmt == "yuv420p"
    for suffix in (".mp4", ".mkv"):
        found = media.probe(media.anamorphic(tmp_path / f"b{suffix}"))
        assert found.aspect == Fraction(4, 3)


STREAMS = {
    (media.with_cover_art, ".mp4"): ["video", "picture"],
    (media.with_cover_art, ".mkv"): ["video", "picture"],
    (media.with_font_attachment, ".mkv"): ["video", "subtitle", "attachment"],
    (media.with_data_stream, ".mov"): ["video", "data"],
    (media.chaptered, ".mp4"): ["video", "data"],
    (media.chaptered, ".mkv"): ["video"],
}


@pytest.mark.parametrize(("maker", "suffix"), STREAMS)
def test_companions(tmp_path, maker, suffix):
    found = media.probe(maker(tmp_path / f"a{suffix}"))
    assert [s[0] for s in found.streams] == STREAMS[maker, suffix]
    assert found.frames == 20 and found.codec == "h264"
    if maker is media.chaptered:
        assert found.chapters == ((0, 0.4, "One"), (0.4, 0.8, "Two"))
        assert found.metadata["title"] == "Arches"


def test_two_languages(tmp_path):
    path = media.two_audio_and_subtitles(tmp_path / "a.mkv")
    aac, ac3, text = media.probe(path).streams[1:]
    assert aac == ("audio", "aac", "eng") and ac3 == ("audio", "ac3", "fra")
    assert text == ("subtitle", "subrip", "deu")
    for stream in (0, 1):
        np.testing.assert_allclose(
            media.ticks(path, stream), [0.2, 0.4, 0.6], atol=2e-3
        )
    texts = media.clip(tmp_path / "b.mp4", media.scene(), subtitles="mov_text")
    for file in (path, texts):
        with av.open(str(file)) as container:
            lines = [line.dialogue for line in container.decode(subtitles=0)]
        assert lines == [b"Line 1", b"Line 2"]


def frames_and_errors(path, *, explode=False):
    """Decodes past every error: the frames, and the errors."""
    frames, errors = [], []
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        if explode:
            stream.codec_context.options = {"err_detect": "explode"}
        for packet in container.demux(stream):
            try:
                frames += packet.decode()
            except av.FFmpegError as error:
                errors.append(error)
    return frames, errors


@pytest.mark.parametrize(
    ("maker", "suffix"),
    [(media.h264_mp4, ".mp4"), (media.vp9_webm, ".webm"), (media.h264_ts, ".ts")],
)
def test_truncated_lacks_its_end(tmp_path, maker, suffix):
    whole = maker(tmp_path / f"a{suffix}")
    frames, _ = frames_and_errors(media.truncated(tmp_path / f"b{suffix}", whole))
    assert 5 < len(frames) < 19
    assert [f.pts for f in frames] == list(media.probe(whole).pts[: len(frames)])


def test_truncated_without_its_index_does_not_open(tmp_path):
    whole = media.portrait(tmp_path / "a.mp4")
    with pytest.raises(av.InvalidDataError):
        av.open(str(media.truncated(tmp_path / "b.mp4", whole)))


@pytest.mark.parametrize(
    ("maker", "suffix"),
    [(media.h264_mp4, ".mp4"), (media.h264_ts, ".mkv"), (media.mpeg2_mpg, ".mpg")],
)
@pytest.mark.parametrize("at", [12, 16])
def test_corrupt_damages_one_packet(tmp_path, maker, suffix, at):
    whole = maker(tmp_path / f"a{suffix}", media.scene(24))
    path = media.corrupt(tmp_path / f"b{suffix}", whole, at)
    assert path.stat().st_size == whole.stat().st_size
    with av.open(str(whole)) as good, av.open(str(path)) as bad:
        pairs = zip(good.demux(video=0), bad.demux(video=0), strict=True)
        changed = [g.pts for g, b in pairs if bytes(g) != bytes(b)]
    pts = media.probe(whole).pts
    assert changed == [pts[at]]
    frames, errors = frames_and_errors(path)
    assert len(frames) == 24 and not errors
    assert [f.pts for f in frames if f.is_corrupt] == [pts[at]]
    assert psnr(media.decode(path)[:9], media.scene(24)[:9]) > 33
    assert frames_and_errors(path, explode=True)[1]


def test_lost_packets(tmp_path):
    whole = media.h264_ts(tmp_path / "a.ts", media.scene(24))
    path = media.lost_packets(tmp_path / "b.ts", whole)
    with av.open(str(path)) as container:
        assert any(p.is_corrupt for p in container.demux(video=0))


def test_size_changes_in_mid_stream(tmp_path):
    frames, errors = frames_and_errors(media.size_change(tmp_path / "a.ts"))
    assert [(f.width, f.height) for f in frames] == [(64, 48)] * 12 + [(96, 80)] * 12
    assert np.diff([f.pts for f in frames]).tolist() == [3600] * 23 and not errors


def test_no_timestamps(tmp_path):
    assert media.probe(media.no_timestamps(tmp_path / "a.h264")).pts == (None,) * 20
    pts = media.probe(media.no_timestamps(tmp_path / "a.avi")).pts
    assert len(pts) == 20 and np.diff(pts).min() < 0  # in an order that is not theirs


def test_encrypted(tmp_path):
    path = media.encrypted(tmp_path / "a.mp4")
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
        assert all(p.has_sidedata("encryption_info") for p in packets)
    frames, errors = frames_and_errors(path)
    assert len(frames) < 10 < len(errors)  # noise may pass for a frame now and then
    with av.open(str(path), options={"decryption_key": media.KEY}) as container:
        assert len(list(container.decode(video=0))) == 20


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_unknown_codec(tmp_path, suffix):
    whole = media.no_timestamps(tmp_path / f"a{suffix}")
    path = media.unknown_codec(tmp_path / f"b{suffix}", whole)
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context is None
        with pytest.raises(av.DecoderNotFoundError):
            next(container.decode(video=0))


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_zero_frames(tmp_path, suffix):
    with av.open(str(media.zero_frames(tmp_path / f"a{suffix}"))) as container:
        assert not list(container.decode(video=0))


def test_audio_only(tmp_path):
    path = media.audio_only(tmp_path / "a.m4a")
    np.testing.assert_allclose(media.ticks(path), [0.2, 0.4, 0.6, 0.8], atol=2e-3)
    with av.open(str(path)) as container:
        assert container.streams.best("video") is None
