"""Protocols against recorded scores, scikit-image, and what each leaves out."""

import functools
import json

import cv2
import numpy as np
import pytest
import recordings
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from ssim import gaussian_oracle, volumetric_oracle

from mtujax.data.datasets import DVD_COUNTS, GOPRO_COUNTS
from mtujax.errors import UsageError, UserError
from mtujax.evaluation.scores import Sums, average, sums
from mtujax.metrics.protocols import DEFAULT, PROTOCOLS, find_protocol

NAMES = "rt-paper koehler official-python estrnn kair kair-python".split()


@functools.cache
def recorded():
    folder = recordings.FOLDER / "metrics"
    pairs = {
        name: tuple(
            cv2.imread(str(folder / f"{name}_{kind}.png"))[None, ..., ::-1]
            for kind in ("res", "gt")
        )
        for name in ("p1", "p2", "p3")
    }
    return pairs, json.loads((folder / "expected.json").read_text())


@pytest.mark.parametrize("pair", ["p1", "p2", "p3"])
@pytest.mark.parametrize("name", DEFAULT)
def test_the_default_protocols_give_the_recorded_scores(name, pair):
    pairs, expected = recorded()
    scores = PROTOCOLS[name].score(*pairs[pair])
    told = expected[pair][name.replace("-", "_")]
    np.testing.assert_allclose(scores["psnr"][0], told["psnr"], atol=1e-3)
    np.testing.assert_allclose(scores["ssim"][0], told["ssim"], atol=1e-5)
    if name == "koehler":
        shift = int(scores["shift_rows"][0]), int(scores["shift_columns"][0])
        assert shift == (told["shift_rows"], told["shift_cols"])


@pytest.fixture
def pair(rng):
    """Float results [3, 45, 47, 3] that leave [0, 1], and 8-bit sharp frames."""
    sharp = rng.integers(0, 256, (3, 45, 47, 3))
    sharp = (sharp + np.roll(sharp, 1, 1) + np.roll(sharp, 1, 2)) // 3
    restored = sharp / 255 + rng.normal(0, 0.1, sharp.shape)
    return restored.astype(np.float32), sharp.astype(np.uint8)


def oracle(name, restored, sharp):
    """PSNR and SSIM of one frame by scikit-image, in float64."""
    restored = restored.clip(0, 1).astype(np.float64)
    if name != "official-python":
        restored = np.float32(restored) * np.float32(255)
        truncated = name == "estrnn"
        restored = (np.floor if truncated else np.rint)(restored) / 255.0
    sharp = sharp / 255
    options = dict(channel_axis=-1, data_range=1)
    if name in ("estrnn", "kair-python"):
        options |= dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    similar = structural_similarity(restored, sharp, **options)
    if name in ("rt-paper", "kair"):
        similar = volumetric_oracle(restored, sharp)
    return peak_signal_noise_ratio(sharp, restored, data_range=1), similar


@pytest.mark.parametrize("name", [n for n in NAMES if n != "koehler"])
def test_a_protocol_quantises_and_compares_as_its_source(name, pair):
    scores = find_protocol(name).score(*pair)
    each = [oracle(name, z, x) for z, x in zip(*pair, strict=True)]
    np.testing.assert_allclose(
        np.stack([scores["psnr"], scores["ssim"]], 1), each, atol=2e-5
    )


def test_levels_are_rounded_half_to_even_truncated_or_kept():
    sharp = np.full((3, 45, 47, 3), 100, np.uint8)  # compiled by the test above
    restored = np.full(sharp.shape, 100.5 / 255, np.float32)
    errors = {}
    for name in ("kair-python", "estrnn", "official-python"):
        value = float(find_protocol(name).score(restored, sharp)["psnr"][0])
        errors[name] = 255 * 10 ** (-value / 20)
    np.testing.assert_allclose(list(errors.values()), [0, 0, 0.5], atol=1e-4)
    restored = np.full(sharp.shape, 101.9 / 255, np.float32)
    values = [find_protocol(n).score(restored, sharp)["psnr"][0] for n in errors]
    errors = [255 * 10 ** (-float(v) / 20) for v in values]
    np.testing.assert_allclose(errors, [2, 1, 1.9], atol=1e-4)


def test_eight_bit_results_score_as_the_floats_they_came_from(pair):
    restored, sharp = pair
    rounded = np.rint(restored.clip(0, 1) * np.float32(255)).astype(np.uint8)
    floats, eight = (PROTOCOLS["koehler"].score(v, sharp) for v in (restored, rounded))
    for key in floats:
        np.testing.assert_array_equal(floats[key], eight[key])


def test_a_dimmed_result_scores_the_same_under_koehler(pair):
    restored = (np.rint(255 * pair[0].clip(0, 1)).astype(np.uint8) // 2) * 2
    bright, dim = (
        PROTOCOLS["koehler"].score(v, pair[1]) for v in (restored, restored // 2)
    )
    np.testing.assert_allclose(dim["gain"], 2 * bright["gain"], rtol=1e-6)
    for key in ("psnr", "ssim", "shift_rows", "shift_columns"):
        np.testing.assert_allclose(dim[key], bright[key], atol=1e-5)


def koehler_oracle(restored, sharp):
    """Shift, PSNR and SSIM of one frame, step by step in float64."""
    z, x = (v[16:-16, 16:-16].astype(np.float64) for v in (restored, sharp))
    z *= np.sum(x * z) / np.sum(z * z)
    spectra = [np.fft.fft2(v.mean(-1)) for v in (x, z)]
    match = np.abs(np.fft.ifft2(spectra[0] * np.conj(spectra[1])))
    (h, w), k = match.shape, match.T.argmax()
    r, c = ((i if i < n // 2 else i - n) for i, n in ((k % h, h), (k // h, w)))
    covered = np.zeros((h, w, 1))
    covered[max(r, 0) : h + min(r, 0), max(c, 0) : w + min(c, 0)] = 1
    luma = [0.299, 0.587, 0.114]
    x, z = x * covered @ luma, np.roll(z, (r, c), (0, 1)) * covered @ luma
    similar = gaussian_oracle(z[..., None] / 255, x[..., None] / 255)
    return r, c, 10 * np.log10(255**2 / np.mean((x - z) ** 2)), similar


def test_a_shifted_and_dimmed_result_scores_the_same_under_koehler_alone():
    sharp = cv2.resize(recorded()[0]["p3"][1][0], (652, 484))
    restored = cv2.GaussianBlur(sharp, (0, 0), 2)
    moved = np.roll(restored // 2, (2, -3), (0, 1))
    both, twice = np.stack([restored, moved]), np.stack([sharp, sharp])
    scores = PROTOCOLS["koehler"].score(both, twice)
    keys = ("shift_rows", "shift_columns", "psnr", "ssim")
    table = np.stack([scores[key] for key in keys], axis=1)
    each = [koehler_oracle(z, sharp) for z in both]
    np.testing.assert_allclose(table, each, atol=2e-5)
    np.testing.assert_array_equal(table[:, :2], [[0, 0], [-2, 3]])
    # Not closer: the strip that a shift leaves empty counts as free of errors.
    np.testing.assert_allclose(*table[:, 2], atol=0.05)
    np.testing.assert_allclose(*table[:, 3], atol=0.002)
    plain = [peak_signal_noise_ratio(sharp, z) for z in both]
    assert plain[0] > plain[1] + 20


@pytest.mark.parametrize("name", DEFAULT)
def test_a_score_does_not_depend_on_the_batch(name, pair):
    together = PROTOCOLS[name].score(*pair)
    for b in range(3):
        alone = PROTOCOLS[name].score(*(v[b : b + 1] for v in pair))
        for key, value in alone.items():
            np.testing.assert_allclose(value[0], together[key][b], rtol=1e-6)


def test_portrait_frames_score_as_landscape(pair):
    turned = [np.ascontiguousarray(v.swapaxes(1, 2)) for v in pair]
    upright, portrait = (PROTOCOLS["koehler"].score(*v) for v in (pair, turned))
    for key in ("psnr", "ssim"):
        np.testing.assert_allclose(portrait[key], upright[key], rtol=2e-6)
    np.testing.assert_array_equal(portrait["shift_rows"], upright["shift_columns"])


def test_each_protocol_scores_the_frames_of_its_source():
    counts = {name: len(find_protocol(name).frames(100)) for name in NAMES}
    assert list(counts.values()) == [99, 99, 100, 96, 100, 100]
    assert list(find_protocol("estrnn").frames(7)) == [2, 3, 4]
    sets = {"dvd": DVD_COUNTS, "gopro": GOPRO_COUNTS}
    lengths = {data: known["test"].lengths.values() for data, known in sets.items()}
    for name, data, frames in [
        ("rt-paper", "dvd", 990),
        ("rt-paper", "gopro", 1100),
        ("estrnn", "gopro", 1067),
        ("kair", "gopro", 1111),
    ]:
        scored = [len(find_protocol(name).frames(n)) for n in lengths[data]]
        assert sum(scored) == frames
    for short in (0, 1, 3, 4):
        assert len(find_protocol("estrnn").frames(short)) == 0
    assert list(find_protocol("rt-paper").frames(1)) == []


def test_a_black_pair_is_counted_and_scored(pair):
    sharp = pair[1].copy()
    sharp[1] = 0
    scores = PROTOCOLS["koehler"].score(sharp, sharp)
    assert np.isposinf(scores["psnr"]).all()
    np.testing.assert_array_equal(scores["aligned"], [1, 0, 1])
    np.testing.assert_array_equal(scores["gain"], 1)
    total = sums(scores)
    assert (total.frames, total.infinite, total.unaligned) == (3, 3, 1)
    assert total.means == (100, pytest.approx(1, abs=1e-6))


def test_a_black_result_gets_the_score_of_a_black_frame(pair):
    sharp = pair[1]
    scores = PROTOCOLS["koehler"].score(np.zeros_like(sharp), sharp)
    x = sharp[0, 16:-16, 16:-16] @ [0.299, 0.587, 0.114]
    exact = 10 * np.log10(255**2 / np.mean(x**2))
    np.testing.assert_allclose(scores["psnr"][0], exact, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_frame_with_nan_has_no_score_and_spoils_no_other(name, value, pair):
    restored, sharp = pair[0].copy(), pair[1]
    clean = find_protocol(name).score(restored, sharp)
    restored[1, 0, 0, 0] = value
    scores = find_protocol(name).score(restored, sharp)
    for key in scores:
        assert np.isnan(scores[key]).tolist() == [False, True, False]
        np.testing.assert_array_equal(scores[key][::2], clean[key][::2])
    total = sums(scores)
    assert (total.frames, total.invalid) == (3, 1) and np.isnan(total.means).all()


@pytest.mark.parametrize(
    "name, least", list(zip(NAMES, [1, 43, 7, 11, 1, 11], strict=True))
)
def test_frames_too_small_are_refused_and_the_smallest_are_scored(name, least):
    protocol = find_protocol(name)
    wide = np.zeros((1, least, 60, 3), np.uint8)
    assert np.isposinf(protocol.score(wide, wide)["psnr"][0])
    narrow = wide[:, 1:]
    message = f"60x{least - 1} are too small for protocol {name}, .* {least}x{least}"
    with pytest.raises(UserError, match=message):
        protocol.score(narrow, narrow)


def test_what_cannot_be_compared_is_refused_in_one_line(pair):
    restored, sharp = pair
    protocol = PROTOCOLS["rt-paper"]
    with pytest.raises(UserError, match="^result is 40x45, its sharp frame 47x45$"):
        protocol.score(restored[:, :, :40], sharp)
    with pytest.raises(UserError, match="frames of uint16: scores need 8 bits"):
        protocol.score(sharp.astype(np.uint16), sharp)
    for kind in (np.float32, np.uint16, bool):
        name = np.dtype(kind).name
        with pytest.raises(UserError, match=f"^sharp frames of {name}: scores need 8"):
            protocol.score(restored, sharp.astype(kind))
    with pytest.raises(UserError, match="^frames of bool: scores need 8 bits"):
        protocol.score(sharp > 9, sharp)
    with pytest.raises(UsageError, match="no protocol 'psnr'; there are rt-paper, "):
        find_protocol("psnr")


def scored(values):
    values = np.asarray(values, np.float32)
    return {"psnr": values, "ssim": values / 50}


def test_totals_do_not_depend_on_how_frames_are_put_into_batches(rng):
    values = rng.uniform(20, 40, 97).astype(np.float32)
    whole = sums(scored(values))
    parts = [sums(scored(part)) for part in np.array_split(values, 9)]
    added = sum(parts, Sums())
    assert added.frames == 97
    np.testing.assert_allclose(added.means, whole.means, rtol=1e-13)
    exact = values.astype(np.float64).mean()
    np.testing.assert_allclose(whole.means[0], exact, rtol=1e-13)


def test_a_dataset_is_averaged_over_frames_or_over_videos():
    videos = {"a": sums(scored([20, 30, 40])), "b": sums(scored([50]))}
    videos["short"] = Sums()
    assert average(videos, over="frames")[0] == 35
    assert average(videos, over="videos")[0] == 40
    assert PROTOCOLS["kair-python"].average == "videos"
    assert all(PROTOCOLS[n].average == "frames" for n in NAMES[:5])
    videos["c"] = sums(scored([np.nan, 30]))
    for over in ("frames", "videos"):
        assert np.isnan(average(videos, over=over)).all()
        assert np.isnan(average({"short": Sums()}, over=over)).all()


def test_a_frame_without_an_error_counts_as_100_dB():
    total = sums(scored([np.inf, 30, 120]))
    assert total.means[0] == pytest.approx(230 / 3) and total.infinite == 1


def test_every_protocol_has_its_name_and_says_where_it_is_from():
    assert list(PROTOCOLS) == NAMES and DEFAULT == ("rt-paper", "koehler")
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name and len(protocol.origin) > 30
