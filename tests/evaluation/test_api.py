"""Evaluation: restored as a stream does, scored as files are, the same when cut short.

Oracles: `Stream`, scikit-image on saved frames, and sums by hand.
"""

import csv
import dataclasses
import json
import shutil
import time

import cv2
import evaluated
import jax
import numpy as np
import pytest
import sets
from evaluated import FORM, FRAMES, LENGTHS, SIZE
from networks import SMALLEST
from skimage.metrics import peak_signal_noise_ratio

import mtujax
from mtujax.data.flow import dis_flow, estimate_motion
from mtujax.errors import UserError
from mtujax.evaluation.api import evaluate
from mtujax.evaluation.results import read_results
from mtujax.metrics.motion import alignment_accuracy, warping_error
from mtujax.model.network import MTUNet, init_params
from mtujax.model.stream import Stream

network, gopro = evaluated.network, evaluated.gopro
run, whole = evaluated.run, evaluated.whole
score, made = evaluated.score, evaluated.made


def sharp_and_blurry(root, video):
    blurry, sharp = FORM.folders(root, "test", video)
    names = FORM.files(LENGTHS[video])
    return [[sets.rgb(d / n) for n in names] for d in (sharp, blurry)]


def rows(out, name="frames.csv"):
    with open(out / name, newline="") as file:
        return list(csv.DictReader(file))


def assert_near(one, other, atol):
    for name in one.protocols:
        for video, scores in one.protocols[name].by_video.items():
            theirs = other.protocols[name].by_video[video]
            assert scores.counted == theirs.counted
            mine, its = scores.sums, theirs.sums
            assert mine.frames == its.frames
            if mine.frames:
                np.testing.assert_allclose(mine.means, its.means, rtol=0, atol=atol)


def test_restored_frames_are_those_of_a_stream(whole, network, gopro):
    model, params = network
    stream = Stream(model, params)
    for video, count in LENGTHS.items():
        _, blurry = sharp_and_blurry(gopro, video)
        streamed = [f for frame in blurry for f in stream.push(frame)] + stream.flush()
        files = sorted((whole[1] / "frames" / video).iterdir())
        assert [f.name for f in files] == FORM.files(count)
        for file, frame in zip(files, streamed, strict=True):
            # Another program may round a value between two levels the other way.
            difference = np.abs(sets.rgb(file).astype(int) - frame)
            assert difference.max() <= 1 and (difference > 0).mean() < 1e-3


def test_a_frame_scores_as_its_saved_file_and_is_blank_if_it_does_not_count(
    whole, gopro
):
    found = rows(whole[1])
    assert len(found) == FRAMES
    for row in found:
        number = int(row["frame"])
        sharp = sharp_and_blurry(gopro, row["video"])[0][number]
        saved = sets.rgb(whole[1] / "frames" / row["video"] / f"{row['name']}.png")
        if number == 0:
            assert row["rt-paper psnr"] == row["koehler ssim"] == ""
            assert row["motion psnr"] == row["consistency sharp"] == ""
            continue
        wanted = peak_signal_noise_ratio(sharp, saved, data_range=255)
        assert float(row["rt-paper psnr"]) == pytest.approx(wanted, abs=1e-3)


def test_the_blurry_frames_are_scored_beside_the_restored_ones(
    whole, score, made, gopro, tmp_path
):
    found, out = whole
    wanted = [
        peak_signal_noise_ratio(sharp, blurry, data_range=255)
        for video in LENGTHS
        for sharp, blurry in list(zip(*sharp_and_blurry(gopro, video), strict=True))[1:]
    ]
    column = [row["rt-paper blurry_psnr"] for row in rows(out)]
    assert [float(cell) for cell in column if cell] == pytest.approx(wanted, abs=1e-3)
    mean = pytest.approx(np.mean(wanted), abs=1e-3)
    assert found.protocols["rt-paper"].blurry_mean == mean
    total = rows(out, "videos.csv")[-1]
    assert float(total["rt-paper blurry_psnr"]) == mean
    told = json.loads((out / "results.json").read_text())["protocols"]
    assert told["rt-paper"]["blurry_psnr"] == mean
    head, _, *_, last = (
        [cell.strip() for cell in line.split("|")]
        for line in (out / "table.md").read_text().splitlines()
        if line.startswith("|")
    )
    assert float(last[head.index("rt-paper, blurry PSNR")]) == mean
    # Where frames are scored that others have made, those of the data set.
    elsewhere = score(results=made, out=tmp_path / "out")
    for name, scores in found.protocols.items():
        others = elsewhere.protocols[name]
        assert others.blurry_mean == pytest.approx(scores.blurry_mean, abs=1e-4)


def test_totals_are_means_over_the_frames_that_count(whole):
    found, out = whole
    for name in ("rt-paper", "koehler"):
        for score, mean in zip(
            ("psnr", "ssim"), found.protocols[name].means, strict=True
        ):
            column = [r[f"{name} {score}"] for r in rows(out)]
            values = [float(cell) for cell in column if cell]
            assert len(values) == FRAMES - len(LENGTHS)
            assert mean == pytest.approx(np.mean(values), abs=1e-6)
    total = rows(out, "videos.csv")[-1]
    assert total["video"] == "total"
    psnr, _ = found.protocols["rt-paper"].means
    assert float(total["rt-paper psnr"]) == pytest.approx(psnr)
    assert found.protocols["rt-paper"].by_video["GOPR2"].counted == (1, 5)
    assert found.protocols["rt-paper"].by_video["GOPR4"].sums.frames == 0


def test_motion_is_scored_between_neighbours_of_one_video(whole, network, gopro):
    model, params = network
    stream, found = Stream(model, params), []
    for video in LENGTHS:
        sharp, blurry = sharp_and_blurry(gopro, video)
        steps = [s for frame in blurry for s in stream.advance(frame)]
        steps += stream.finish()
        for k in range(1, len(sharp)):
            scores = alignment_accuracy(
                steps[k].displacement[None], sharp[k - 1][None], sharp[k][None]
            )
            found.append(float(scores["psnr"][0]))
    total = whole[0].motion_total
    assert total.pairs == len(found) == FRAMES - len(LENGTHS)
    assert total.undefined == 0
    assert total.means["psnr"] == pytest.approx(np.mean(found), abs=1e-3)


def test_steadiness_is_that_of_the_saved_frames_beside_the_sharp_ones(whole, gopro):
    found = {"restored": [], "sharp": []}
    for video in LENGTHS:
        sharp, _ = sharp_and_blurry(gopro, video)
        saved = sorted((whole[1] / "frames" / video).iterdir())
        restored = [sets.rgb(file) for file in saved]
        for k in range(1, len(sharp)):
            flow, seen = estimate_motion(sharp[k], sharp[k - 1], dis_flow)
            for name, frames in (("restored", restored), ("sharp", sharp)):
                pair = frames[k - 1][None], frames[k][None]
                error = warping_error(*pair, flow[None], seen[None])
                found[name].append(float(error[0]))
    total = whole[0].consistency_total
    # Frames of noise: in one pair no pixel's motion is the same back and forth.
    assert total.pairs == len(found["sharp"])
    assert total.undefined == np.isnan(found["sharp"]).sum() == 1
    for name, errors in found.items():
        assert total.means[name] == pytest.approx(np.nanmean(errors), rel=1e-4)


def test_the_file_of_results_says_all_that_scores_depend_on(whole):
    found, out = whole
    assert read_results(out / "results.json") == found
    assert mtujax.evaluate is evaluate
    assert (found.dataset.name, found.dataset.variant) == ("gopro", "blur_gamma")
    assert [(v.name, v.frames) for v in found.dataset.videos] == list(LENGTHS.items())
    assert len(found.method.sha256) == 64 and found.method.parameters > 100
    assert found.method.config == SMALLEST
    assert {"device", "jax", "date"} <= found.machine.keys()
    assert found.machine["devices"] == 2
    assert found.seconds["all"] >= found.seconds["compile"] > 0
    text = (out / "table.md").read_text()
    assert "| GOPR4 | 1 |  |" in text and "Motion accuracy at 1/4 scale" in text


def test_scores_depend_on_neither_batch_nor_devices(whole, run, tmp_path):
    less = dict(motion=False, consistency=False, save_frames=False)
    one = run(out=tmp_path / "one", devices=1, batch=3, **less)
    assert_near(one, whole[0], 1e-4)
    assert one.machine["devices"] == 1


class Killed(BaseException):
    """As SIGKILL would, it passes whatever catches errors."""


def test_a_killed_evaluation_goes_on_with_the_next_video(whole, run, tmp_path):
    out, seen = tmp_path / "out", []

    def kill(done, total):
        if done >= 9:  # one lane is through its first video, both are in mid-video
            saved = out / "videos"  # by another thread, which may be behind
            while not (saved.is_dir() and any(saved.iterdir())):
                time.sleep(0.01)
            raise Killed

    with pytest.raises(Killed):
        run(out=out, on_frames=kill)
    finished = {path.stem for path in (out / "videos").iterdir()}
    assert finished and finished < set(LENGTHS)
    assert {path.name for path in (out / "frames").glob("[!.]*")} == finished
    assert not (out / "results.json").exists()
    notes = []
    found = run(out=out, on_frames=lambda *at: seen.append(at), on_note=notes.append)
    left = sum(n for video, n in LENGTHS.items() if video not in finished)
    assert seen[-1] == (left, left)
    assert notes == [f"{len(finished)} of 4 videos are finished already"]
    assert_near(found, whole[0], 1e-6)
    assert rows(out)[-1]["video"] == "GOPR4"
    # What is finished is not done again; what is damaged is.
    run(out=out, on_frames=lambda *at: pytest.fail("done again"))
    (out / "videos" / "GOPR4.json").write_text('{"video": {')
    run(out=out, on_frames=lambda *at: seen.append(at))
    assert seen[-1] == (1, 1)


def test_another_evaluation_in_the_same_folder_is_refused(whole, run, tmp_path):
    out = whole[1]
    with pytest.raises(UserError, match="another evaluation: motion: true there, fals"):
        run(out=out, motion=False)
    with pytest.raises(UserError, match="protocols: "):
        run(out=out, protocols=["kair"])
    form = dataclasses.replace(FORM, lengths={"test": {"GOPR1": 2, "GOPR5": 2}})
    other = sets.make(tmp_path / "other", form, size=SIZE)
    with pytest.raises(UserError, match=f"^{out}: [^{{]*dataset.videos: not the same;"):
        run(out=out, path=other)
    copied = tmp_path / "out"
    shutil.copytree(out / "videos", copied / "videos")
    with pytest.raises(UserError, match="settings.json is missing"):
        run(out=copied)


def test_results_made_elsewhere_score_as_the_network_that_made_them(
    whole, score, made, tmp_path
):
    found = score(results=made, out=tmp_path / "named", name="theirs")
    assert_near(found, whole[0], 1e-3)
    assert (found.method.name, found.method.config) == ("theirs", None)
    for folder in made.iterdir():
        for k, file in enumerate(sorted(folder.iterdir())):
            file.rename(folder / f"out_{k + 8}.png")  # out_9 comes before out_10
    assert_near(score(results=made, out=tmp_path / "ordered"), found, 1e-6)


def test_frames_with_nan_are_counted_and_never_averaged_away(score, made, tmp_path):
    names = FORM.files(5)
    for name in names:  # floats beside 8-bit frames, as another program may write them
        path = made / "GOPR2" / name
        np.save(path.with_suffix(".npy"), sets.rgb(path) / 255)
        path.unlink()
    plain = score(results=made, out=tmp_path / "plain").protocols["rt-paper"]
    spoilt = made / "GOPR2" / names[2].replace("png", "npy")
    frame = np.load(spoilt)
    frame[1, 2, 0] = np.nan
    np.save(spoilt, frame)
    out = tmp_path / "spoilt"
    found = score(results=made, out=out).protocols["rt-paper"]
    assert (plain.total.invalid, found.total.invalid) == (0, 1)
    assert np.isfinite(plain.means).all() and np.isnan(found.means).all()
    assert found.by_video["GOPR1"] == plain.by_video["GOPR1"]
    assert rows(out)[5]["rt-paper psnr"] == "nan"
    told = json.loads((out / "results.json").read_text())["protocols"]["koehler"]
    assert (told["psnr"], told["invalid"]) == ("nan", 1)
    assert "1 with NaN or infinity" in (out / "table.md").read_text()


def test_black_and_perfect_frames_are_counted(score, made, gopro, tmp_path):
    black = np.zeros((*SIZE, 3), np.uint8)
    for file in (made / "GOPR1").iterdir():
        cv2.imwrite(str(file), black)
    shutil.rmtree(made / "GOPR2")
    shutil.copytree(FORM.folders(gopro, "test", "GOPR2")[1], made / "GOPR2")
    found = score(results=made, out=tmp_path / "out").protocols
    assert found["koehler"].by_video["GOPR1"].sums.unaligned == 2
    perfect = found["rt-paper"].by_video["GOPR2"].sums
    assert (perfect.infinite, perfect.psnr) == (4, 400.0)


@pytest.mark.slow
def test_a_causal_network_restores_as_its_stream_does(gopro, tmp_path):
    config = dataclasses.replace(SMALLEST, lookahead=0, lookback=1, dtype="bfloat16")
    model = MTUNet(config)
    params = init_params(model, jax.random.key(0))
    out = tmp_path / "out"
    evaluate(
        (model, params), dataset="gopro", path=gopro, out=out, save_frames=True, batch=4
    )
    stream = Stream(model, params)
    for video in LENGTHS:
        _, blurry = sharp_and_blurry(gopro, video)
        streamed = [f for frame in blurry for f in stream.push(frame)]
        stream.reset()
        files = sorted((out / "frames" / video).iterdir())
        for file, frame in zip(files, streamed, strict=True):
            assert np.abs(sets.rgb(file).astype(int) - frame).max() <= 1


@pytest.mark.slow
def test_portrait_and_odd_sizes_are_scored_beside_others(network, tmp_path):
    root = tmp_path / "pairs"
    sizes = {"portrait": (61, 47), "wide": (47, 61), "wide too": (47, 61)}
    for video, size in sizes.items():
        form = dataclasses.replace(sets.FORMS["pairs"], lengths={"test": {video: 3}})
        sets.make(root, form, size=size)
    found = evaluate(
        network, dataset="pairs", path=root, out=tmp_path / "out", save_frames=True
    )
    assert {v.name: (v.height, v.width) for v in found.dataset.videos} == sizes
    assert found.protocols["koehler"].total.frames == 6
    assert np.isfinite(found.protocols["koehler"].means).all()
    for video, size in sizes.items():
        first = sorted((tmp_path / "out" / "frames" / video).iterdir())[0]
        assert sets.rgb(first).shape[:2] == size
