"""The classical methods that a network must beat: settings chosen, frames written."""

import json
import sys

import cv2
import numpy as np
import pytest
import sets

from benchmarks.weights import classical
from mtujax.evaluation.api import evaluate
from mtujax.synthesis.host.sensor import linear_from_srgb, srgb_from_linear

SIGMA = 1.4


def texture(rows, columns, seed=0):
    """[rows, columns, 3] in [0.1, 0.9]: spots of three pixels and more."""
    drawn = np.random.default_rng(seed).random((rows, columns, 3))
    soft = cv2.GaussianBlur(drawn, (0, 0), 1.2)
    return 0.1 + 0.8 * (soft - soft.min()) / np.ptp(soft)


def blurred(image, spread):
    """In linear light, by OpenCV."""
    light = cv2.filter2D(linear_from_srgb(image), -1, spread)
    return srgb_from_linear(light)


def eight_bits(image):
    return np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)


def write_clip(root, clip, pairs):
    """Blurry and sharp frames [H, W, 3] uint8, RGB."""
    for kind, frames in zip(("blur", "sharp"), zip(*pairs, strict=True), strict=True):
        folder = root / "test" / clip / kind
        folder.mkdir(parents=True)
        for number, frame in enumerate(frames, 1):
            sets.write(folder / f"{number:04d}.png", frame[..., ::-1])
    return root


@pytest.fixture(scope="module")
def soft(tmp_path_factory):
    """A set: "soft" is blurred by a Gaussian of SIGMA, "crisp" not at all."""
    root = tmp_path_factory.mktemp("soft")
    taps = cv2.getGaussianKernel(15, SIGMA)
    images = [texture(48, 64, seed) for seed in range(3)]
    pairs = [(blurred(image, taps @ taps.T), image) for image in images]
    write_clip(root, "soft", [tuple(map(eight_bits, pair)) for pair in pairs])
    return write_clip(root, "crisp", [(eight_bits(x), eight_bits(x)) for x in images])


def fewer(method, **grid):
    return type(method)(method.restore, grid)


def test_deconvolution_finds_the_gaussian_that_blurred_a_clip(soft):
    method = classical.METHODS["richardson_lucy"]
    method = fewer(method, sigma=(0.7, SIGMA, 2.8), iterations=(2, 10))
    alike, each = classical.choose(method, classical.Clips(soft), 3)
    chosen = each["soft"]
    assert chosen["settings"] == {"sigma": SIGMA, "iterations": 10}
    assert chosen["searched_psnr"] > chosen["searched_psnr_as_it_is"] + 3
    assert each["crisp"]["settings"] == classical.AS_IT_IS
    # What is best for both cannot be better than what is best for each.
    mean = np.mean([one["searched_psnr"] for one in each.values()])
    assert alike["searched_psnr"] <= mean


def test_the_straight_line_of_a_pan_is_found(tmp_path):
    """It moves by (6, 2) pixels a frame and is exposed for 2/3 of that."""
    wide = texture(140, 200)
    light, pairs = linear_from_srgb(wide), []
    for frame in range(3):
        views = [
            light[
                20 + 2 * frame + round(2 * s) : 116 + 2 * frame + round(2 * s),
                20 + 6 * frame + round(6 * s) : 148 + 6 * frame + round(6 * s),
            ]
            for s in np.linspace(-1 / 3, 1 / 3, 13)
        ]
        blur = srgb_from_linear(np.mean(views, axis=0))
        sharp = wide[20 + 2 * frame : 116 + 2 * frame, 20 + 6 * frame : 148 + 6 * frame]
        pairs.append((eight_bits(blur), eight_bits(sharp)))
    clips = classical.Clips(write_clip(tmp_path, "pan", pairs))
    for frame in range(3):
        assert clips.motion("pan", frame) == pytest.approx([6, 2], abs=0.5)
    method = classical.METHODS["richardson_lucy_motion"]
    method = fewer(method, exposure=(0.2, 0.7, 1.2), iterations=(5,))
    chosen = classical.choose(method, clips, 3)[1]["pan"]
    assert chosen["settings"]["exposure"] == 0.7
    assert chosen["searched_psnr"] > chosen["searched_psnr_as_it_is"] + 1


@pytest.mark.parametrize("motion", [(0, 0), (7.3, 0), (-4, 9.5), (0.4, -0.2)])
def test_a_line_has_the_length_and_direction_of_the_motion(motion):
    """Its moments: those of a straight stretch, widened by the interpolation."""
    spread = classical.line(np.array(motion))
    assert spread.sum() == pytest.approx(1, abs=1e-5)
    cells = np.arange(len(spread)) - len(spread) // 2
    mean = spread.sum(0) @ cells, spread.sum(1) @ cells
    assert mean == pytest.approx((0, 0), abs=1e-5)
    covariance = cells @ spread @ cells  # of rows with columns
    assert covariance == pytest.approx(motion[0] * motion[1] / 12, rel=0.02, abs=1e-3)
    for moved, profile in zip(motion, (spread.sum(0), spread.sum(1)), strict=True):
        # Linear interpolation adds a variance of 0 to 1/4.
        variance = profile @ cells**2 - moved**2 / 12
        assert -1e-3 <= variance <= 0.25 + 1e-3


def run(monkeypatch, *words):
    """The script's exit status."""
    monkeypatch.setattr(sys, "argv", ["classical.py", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        classical.main()
    return ended.value.code


def test_frames_are_found_and_scored_by_an_evaluation(soft, tmp_path, monkeypatch):
    for name, method in classical.METHODS.items():
        grid = {key: values[2:3] for key, values in method.grid.items()}
        monkeypatch.setitem(classical.METHODS, name, fewer(method, **grid))
    out = tmp_path / "frames"
    assert run(monkeypatch, soft, out) == 0
    assert sorted(p.name for p in out.iterdir()) == sorted(classical.METHODS)
    for name in classical.METHODS:
        told = json.loads((out / name / "chosen.json").read_text())
        found = evaluate(
            dataset="pairs",
            path=soft,
            results=out / name,
            out=tmp_path / "scores" / name,
            protocols=("rt-paper",),
        )
        scores = found.protocols["rt-paper"]
        assert scores.means[0] == pytest.approx(told["psnr"], abs=1e-4)
        for clip, one in scores.by_video.items():
            psnr = told["by_clip"][clip]["psnr"]
            assert one.sums.means[0] == pytest.approx(psnr, abs=1e-4)


def test_a_clip_that_nothing_helps_is_left_as_it_is(soft, tmp_path, monkeypatch):
    assert run(monkeypatch, soft, tmp_path, "--methods", "unsharp") == 0
    for path in (soft / "test" / "crisp" / "blur").iterdir():
        written = sets.rgb(tmp_path / "unsharp" / "crisp" / path.name)
        assert (written == sets.rgb(path)).all()
    status = run(monkeypatch, soft, tmp_path, "--methods", "unsharp")
    assert status == 1


def test_a_set_that_is_none_takes_one_line(tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, tmp_path / "nowhere", tmp_path / "out") == 1
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("classical.py: error: ") and "nowhere: no such" in told
    assert not (tmp_path / "out").exists()
    assert run(monkeypatch, tmp_path, tmp_path, "--searched", 0) == 2
