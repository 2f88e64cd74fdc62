"""Clips as people have them through the whole command, network included."""

import dataclasses
import io
import sys
from fractions import Fraction
from types import SimpleNamespace

import jax
import media
import numpy as np
import pytest
from networks import slow

from mtujax.deblur.api import deblur_video
from mtujax.errors import UsageError, UserError
from mtujax.model.network import MTUNet, inference_params, init_params
from mtujax.video.image_folder import FolderReader


def through(tmp_path, tiny, source, name="out.mp4", **options):
    """What came out, and the report."""
    report = deblur_video(source, tmp_path / name, weights=tiny, **options)
    return media.probe(tmp_path / name), report


def seconds(probe):
    return [float(pts * probe.time_base) for pts in probe.pts]


KINDS = {
    "h264": (media.h264_mp4, "mp4"),
    "hevc": (media.hevc_mov, "mov"),
    "vp9": (media.vp9_webm, "webm"),
    "av1": (media.av1_mkv, "mkv"),
    "mpeg2": (media.mpeg2_mpg, "mpg"),
    "mpeg2-ts": (media.mpeg2_ts, "ts"),
    "h264-ts": (media.h264_ts, "ts"),
    "mjpeg": (media.mjpeg_avi, "avi"),
    "variable": (media.variable_rate, "mp4"),
    "portrait": (media.portrait, "mp4"),
    "bt601": (media.bt601_small, "mp4"),
    "full": (media.full_range, "mp4"),
    "hdr10": (media.hdr10, "mp4"),
    "hlg": (media.hlg, "mkv"),
    "ten-bit": (media.ten_bit_sdr, "mp4"),
    "interlaced": (media.interlaced, "mkv"),
    "odd": (media.odd_size, "mp4"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", ["mp4", slow("mkv")])
def test_every_kind_goes_through_and_decodes_to_its_end(tmp_path, tiny, kind, suffix):
    make, ending = KINDS[kind]
    source = make(tmp_path / f"in.{ending}")
    before = media.probe(source)
    after, report = through(tmp_path, tiny, source, f"out.{suffix}")
    assert len(media.decode(tmp_path / f"out.{suffix}")) == report.frames == 20
    assert after.size == before.size
    shift = seconds(before)[0] - seconds(after)[0]
    if ending not in ("ts", "mpg"):  # whose clocks begin anywhere
        assert abs(shift) < 1e-3
    times = np.array(seconds(before)) - shift
    np.testing.assert_allclose(seconds(after), times, atol=0.0006)
    assert after.rotation == before.rotation
    if any(stream[0] == "audio" for stream in before.streams):
        moved = np.array(media.ticks(source)) - seconds(before)[0]
        heard = np.array(media.ticks(tmp_path / f"out.{suffix}")) - seconds(after)[0]
        np.testing.assert_allclose(heard, moved, atol=0.006)


@pytest.mark.parametrize(
    "kind, said",
    [
        ("hdr10", "HDR input (PQ, 10 bits) is tone-mapped"),
        ("hlg", "HDR input (HLG, 10 bits) is tone-mapped"),
        ("ten-bit", "10-bit input is converted to 8 bits"),
        ("interlaced", "interlaced input is made progressive"),
        ("odd", "odd size 65x49: kept exactly"),
    ],
)
def test_what_changes_is_said(tmp_path, tiny, kind, said):
    make, ending = KINDS[kind]
    source = make(tmp_path / f"in.{ending}")
    notes = []
    _, report = through(tmp_path, tiny, source, on_note=notes.append)
    assert tuple(notes) == report.notes
    assert any(said in note for note in notes)


def test_colour_tags_are_those_of_the_input(tmp_path, tiny):
    for make in (media.bt601_small, media.full_range, media.h264_mp4):
        source = make(tmp_path / "in.mp4")
        after, _ = through(tmp_path, tiny, source, overwrite=True)
        assert after.colour == media.probe(source).colour


def test_a_portrait_clip_is_upright_wherever_it_goes(tmp_path, tiny):
    source = media.portrait(tmp_path / "in.mp4")
    kept, _ = through(tmp_path, tiny, source)
    assert (kept.size, kept.rotation) == ((64, 48), 90)
    side, report = through(tmp_path, tiny, source, "side.mp4", compare="side")
    assert side.rotation == 0 and side.size == report.size == (98, 64)
    mpeg, report = through(tmp_path, tiny, source, "out.mpg")
    assert (mpeg.size, mpeg.rotation, report.size) == ((48, 64), 0, (48, 64))
    deblur_video(source, tmp_path / "frames", weights=tiny)
    with FolderReader(tmp_path / "frames") as reader:
        first, _ = next(reader.frames())
    wanted = np.rot90(media.decode(tmp_path / "out.mp4")[0])
    assert first.shape == (64, 48, 3)
    assert np.abs(first.astype(int) - wanted).mean() < 6  # coded with loss


def test_a_part_keeps_sound_and_chapters_in_time(tmp_path, tiny):
    source = media.chaptered(tmp_path / "in.mp4", media.scene(40), audio="aac")
    after, report = through(tmp_path, tiny, source, start=0.3, end=1.3)
    assert report.frames == 25 and seconds(after)[0] == 0
    first = 0.32  # the first frame at or after 0.3 s
    wanted = [t - first for t in media.ticks(source) if first + 0.03 < t < 1.29]
    np.testing.assert_allclose(media.ticks(tmp_path / "out.mp4"), wanted, atol=0.006)
    np.testing.assert_allclose(
        [c[:2] for c in after.chapters], [(0, 0.08), (0.08, 0.48)], atol=0.002
    )


def test_damage_is_repaired_counted_and_said(tmp_path, tiny):
    whole = media.clip(tmp_path / "whole.ts", media.scene(24))
    source = media.lost_packets(tmp_path / "lost.ts", whole)
    after, report = through(tmp_path, tiny, source)
    assert report.frames == len(after.pts) == 24
    assert any("replaced by the one before" in note for note in report.notes)
    source = media.truncated(tmp_path / "cut.mp4", media.h264_mp4(tmp_path / "a.mp4"))
    after, report = through(tmp_path, tiny, source, "cut-out.mp4")
    assert 0 < report.frames == len(after.pts) < 20
    assert any("is truncated: its pictures end at" in note for note in report.notes)
    source = media.size_change(tmp_path / "size.ts")
    after, report = through(tmp_path, tiny, source, "size.mp4")
    assert (report.frames, after.size) == (24, (64, 48))
    assert any("12 frames of 96x80 in mid-stream scaled" in n for n in report.notes)


def test_what_cannot_be_read_is_refused_and_leaves_nothing(tmp_path, tiny):
    h264 = media.h264_mp4(tmp_path / "h264.mp4")
    (tmp_path / "text.mp4").write_text("not a video")
    for path, said in (
        (media.audio_only(tmp_path / "audio.mp4"), "has no video stream"),
        (media.zero_frames(tmp_path / "none.avi"), "has no frame"),
        (media.encrypted(tmp_path / "locked.mp4"), "is encrypted"),
        (media.unknown_codec(tmp_path / "odd.mp4", h264), r"codec \(zq7x\) is not"),
        (tmp_path / "text.mp4", "cannot be read as a video"),
    ):
        before = sorted(tmp_path.iterdir())
        with pytest.raises(UserError, match=said):
            deblur_video(path, tmp_path / "out.mp4", weights=tiny)
        assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("of_motion", [False, True])
def test_mpeg2_of_a_variable_rate_is_refused_before_any_work(tmp_path, tiny, of_motion):
    source = media.clip(
        tmp_path / "in.mp4",
        media.scene(20),
        times=[2 * k + (k == 5) for k in range(20)],  # on average MPEG-2 has this rate
        time_base=Fraction(1, 50),
    )
    mpeg, done = tmp_path / "out.mpg", []
    output, motion = (tmp_path / "out.mp4", mpeg) if of_motion else (mpeg, None)
    options = {"save_motion": motion, "progress": lambda *now: done.append(now)}
    with pytest.raises(UserError, match="variable frame rate, which MPEG-2 cannot"):
        deblur_video(source, output, weights=tiny, **options)
    assert not done and [p.name for p in tmp_path.iterdir()] == ["in.mp4"]


def test_a_motion_video_has_the_same_frames_at_the_same_times(tmp_path, tiny):
    source = media.variable_rate(tmp_path / "in.mp4")
    motion = tmp_path / "motion.mp4"
    after, _ = through(tmp_path, tiny, source, save_motion=motion)
    assert seconds(media.probe(motion)) == seconds(after)
    assert media.probe(motion).size == (64, 48)


def test_a_motion_video_is_written_whatever_the_input_and_output_are(
    tmp_path, tiny, monkeypatch
):
    media.portrait(tmp_path / "in.mp4")
    for name, output in (("in.mp4", "frames"), ("frames", "again"), ("in.mp4", "-")):
        monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=io.BytesIO()))
        written = output if output == "-" else tmp_path / output
        motion = tmp_path / ("m" * 251 + ".mp4")  # the longest name
        options = {"save_motion": motion, "overwrite": True, "weights": tiny}
        report = deblur_video(tmp_path / name, written, **options)
        found = media.probe(motion)
        assert (found.frames, found.size) == (report.frames, (48, 64))
        assert len(sys.stdout.buffer.getvalue()) == (output == "-") * 20 * 48 * 64 * 3
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["again", "frames", "in.mp4", motion.name]


def test_a_pipe_replaces_an_output_only_if_asked_to(tmp_path, tiny, monkeypatch):
    output, options = tmp_path / "out.mkv", {"size": "64x48", "rate": 25}
    for overwrite in (False, True):
        output.write_text("old")
        stdin = io.BytesIO(np.stack(media.scene(4)).tobytes())
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stdin))
        if overwrite:
            deblur_video("-", output, weights=tiny, overwrite=True, **options)
            continue
        with pytest.raises(UserError, match="exists already"):
            deblur_video("-", output, weights=tiny, **options)
    assert len(media.decode(output)) == 4


def test_a_network_of_patches_goes_the_whole_way(tmp_path, tiny):
    model = MTUNet(dataclasses.replace(tiny[0].config, patch=2, activation="leaky"))
    network = model, inference_params(init_params(model, jax.random.key(0)))
    source = media.odd_size(tmp_path / "in.mp4")
    motion = tmp_path / "motion.mkv"
    after, report = through(tmp_path, network, source, "o.mkv", save_motion=motion)
    assert after.size == media.probe(motion).size == media.probe(source).size
    assert report.frames == 20
    for tile, said in (((64, 96), "at least 128x128"), ((128, 132), "multiples of 8")):
        with pytest.raises(UsageError, match=f"tile {tile[1]}x{tile[0]}: .*{said}"):
            through(tmp_path, network, source, "t.mkv", tile=tile)


def test_tiles_give_nearly_the_same_video(tmp_path, tiny):
    source = media.clip(tmp_path / "in.mkv", media.scene(6, 160, 144))
    through(tmp_path, tiny, source, "whole.mp4", crf=0)
    _, report = through(tmp_path, tiny, source, "tiles.mp4", crf=0, tile=(96, 112))
    whole, tiles = (media.decode(tmp_path / f"{n}.mp4") for n in ("whole", "tiles"))
    error = np.mean((np.array(whole, float) - np.array(tiles)) ** 2)
    assert report.frames == 6 and 10 * np.log10(255**2 / max(error, 1e-9)) > 50
