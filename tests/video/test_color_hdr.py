import math
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import mtujax
from mtujax.video.color import (
    HLG,
    PQ,
    REFERENCE_WHITE,
    ToneMapper,
    light_to_pq,
    mastering_peak,
    pq_to_light,
    roll_off,
)
from mtujax.video.info import SCALING

# BT.2087-0, from BT.709 to BT.2020.
TO_BT2020 = np.array(
    [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]
)
# SMPTE EG 432-1 and BT.709: linear Display P3 red, green and blue in BT.709.
P3_IN_BT709 = np.array(
    [[1.2249, -0.0420, -0.0196], [-0.2247, 1.0419, -0.0786], [0.0, 0.0, 1.0979]]
)


def pq_signal(nits):
    """uint16 PQ signal of light in cd/m2."""
    light = np.asarray(nits, float) / REFERENCE_WHITE
    return np.round(light_to_pq(light) * 65535).astype(np.uint16)


def greys(values):
    """[1, N, 3] signals of equal R, G and B."""
    return np.repeat(np.atleast_1d(values)[None, :, None], 3, axis=-1)


def hlg_grey(signal):
    return greys(np.round(np.atleast_1d(signal) * 65535).astype(np.uint16))


def display_light(rgb):
    """Light in [0, 1] of a BT.1886 display that shows the uint8 signal."""
    return (rgb / 255.0) ** 2.4


def naive(rgb, *, transfer, peak):
    """The same mapping of one BT.2020 pixel, with floats and in cd/m2."""
    if transfer == PQ:
        nits = [10000 * _pq_eotf(v / 65535) for v in rgb]
    else:
        scene = [_hlg_scene(v / 65535) for v in rgb]
        y = 0.2627 * scene[0] + 0.6780 * scene[1] + 0.0593 * scene[2]
        nits = [1000 * y**0.2 * e for e in scene] if y else [0.0] * 3
    nits = np.linalg.inv(TO_BT2020) @ nits
    nits = [max(v, 0) for v in nits]
    most = max(nits)
    if most == 0:
        return [0, 0, 0]
    gain = _eetf_nits(min(most, peak), peak, 203) / most
    return [round(255 * min(gain * v / 203, 1) ** (1 / 2.4)) for v in nits]


def _pq_eotf(e):
    p = e ** (32 / 2523)
    return (max(p - 0.8359375, 0) / (18.8515625 - 18.6875 * p)) ** (8192 / 1305)


def _pq_inverse(y):
    p = y ** (1305 / 8192)
    return ((0.8359375 + 18.8515625 * p) / (1 + 18.6875 * p)) ** (2523 / 32)


def _hlg_scene(e):
    if e <= 0.5:
        return e * e / 3
    a = 0.17883277
    b = 1 - 4 * a
    c = 0.5 - a * math.log(4 * a)
    return (math.exp((e - c) / a) + b) / 12


def _eetf_nits(nits, peak, target):
    """Report BT.2390, section 5.4.1, its letters."""
    lw = _pq_inverse(peak / 10000)
    e1 = _pq_inverse(nits / 10000) / lw
    max_lum = _pq_inverse(target / 10000) / lw
    ks = 1.5 * max_lum - 0.5
    if e1 < ks:
        return nits
    t = (e1 - ks) / (1 - ks)
    e2 = (2 * t**3 - 3 * t**2 + 1) * ks
    e2 += (t**3 - 2 * t**2 + t) * (1 - ks)
    e2 += (-2 * t**3 + 3 * t**2) * max_lum
    return 10000 * _pq_eotf(e2 * lw)


def encode(path, signal, *, transfer=16, metadata=""):
    """A 10-bit HEVC file of one frame, [H, W, 3] uint16 signal, BT.2020."""
    height, width, _ = signal.shape
    with av.open(str(path), "w") as container:
        options = {"x265-params": f"log-level=none:pools=1:bframes=0:crf=2{metadata}"}
        stream = container.add_stream("libx265", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p10le"
        context = stream.codec_context
        context.color_primaries, context.color_trc = 9, transfer
        context.colorspace, context.color_range = 9, 1
        frame = av.VideoFrame.from_ndarray(signal, format="rgb48le")
        frame = frame.reformat(
            format="yuv420p10le", dst_colorspace=9, dst_color_range=1
        )
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def decode(path):
    """Its first frame, that as rgb48, and the mapper for its tags."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        context = container.streams.video[0].codec_context
        mapper = ToneMapper(context.color_trc, context.color_primaries)
        assert context.color_trc in (PQ, HLG) and context.color_primaries == 9
    rgb = frame.reformat(
        format="rgb48le", src_colorspace=9, src_color_range=1, interpolation=SCALING
    )
    return frame, rgb.to_ndarray(), mapper


@pytest.mark.parametrize(
    "nits, signal", [(0, 0), (100, 0.508), (203, 0.581), (1000, 0.752), (10000, 1)]
)
def test_pq_has_its_published_values(nits, signal):
    # Report BT.2408-7, tables 1 and 2.
    assert light_to_pq(nits / REFERENCE_WHITE) == pytest.approx(signal, abs=5e-4)


def test_pq_and_its_inverse_undo_each_other():
    signal = np.linspace(0, 1, 1001)
    assert np.allclose(light_to_pq(pq_to_light(signal)), signal, atol=1e-6)


def test_hlg_at_75_percent_is_reference_white_and_at_100_is_1000_nits():
    for signal, nits in ((0.75, 203), (1.0, 1000), (0.38, 26)):  # BT.2408-7, table 1
        hlg = ToneMapper(HLG, 9, 4000.0)(hlg_grey(signal))
        pq = ToneMapper(PQ, 9, 4000.0)(greys(pq_signal(nits)))
        assert np.abs(hlg.astype(int) - pq).max() <= 1


@pytest.mark.parametrize("transfer", [PQ, HLG])
@pytest.mark.parametrize("peak", [600.0, 1000.0, 4000.0])
def test_it_agrees_with_a_scalar_implementation(rng, transfer, peak):
    rgb = rng.integers(0, 65536, (1, 300, 3), np.uint16)
    rgb[0, :150] = rgb[0, :150] // 3 + rgb[0, :150, :1] // 3  # less saturated
    rgb[0, :6] = [(0, 0, 0), (65535,) * 3, *np.eye(3) * 65535, (65535, 1, 1)]
    found = ToneMapper(transfer, 9, peak)(rgb)[0]
    expected = [naive(p, transfer=transfer, peak=peak) for p in rgb[0].tolist()]
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 2 and np.mean(difference > 0) < 0.05


def test_white_and_grey_cards_keep_the_level_they_have_in_sdr():
    # SDR at its peak of 203 cd/m2: a grey card, 26 cd/m2 (BT.2408-7, table 1), is 42 %
    # of the signal and white is 100 %.
    for peak, white in ((1000.0, 0.90), (4000.0, 0.82)):
        mapped = ToneMapper(PQ, 9, peak)(greys(pq_signal([26, 203])))[0, :, 0] / 255
        assert mapped == pytest.approx([(26 / 203) ** (1 / 2.4), white], abs=0.01)


@pytest.mark.parametrize("transfer", [PQ, HLG])
@pytest.mark.parametrize("peak", [None, 100.0, 203.0, 300.0, 10000.0])
def test_a_grey_ramp_stays_neutral_and_ascends_to_white(transfer, peak):
    for primaries in (1, 2, 9, 11, 12):
        ramp = greys(np.arange(65536, dtype=np.uint16))
        mapped = ToneMapper(transfer, primaries, peak)(ramp)[0].astype(int)
        assert (mapped.min(axis=-1) == mapped.max(axis=-1)).all()
        assert mapped[0, 0] == 0
        # HLG ends at 1000 cd/m2, whatever it is mastered for.
        reached = transfer == PQ or peak != 10000
        assert mapped[-1, 0] == 255 if reached else 200 < mapped[-1, 0] < 255
        assert set(np.diff(mapped[:, 0])) <= {0, 1}


def test_the_roll_off_is_smooth_and_ends_at_the_peak():
    light = np.linspace(0, 12, 100_000)
    for peak in (250.0, 1000.0, 2000.0):
        rolled = roll_off(light, peak)
        slope = np.diff(rolled) / np.diff(light)
        assert slope.min() > -1e-9 and slope.max() < 1 + 1e-6
        assert np.abs(np.diff(slope)).max() < 0.01
        assert rolled.max() == 1 and (rolled[light >= peak / 203] == 1).all()


def test_bt709_colours_in_bt2020_come_back_as_themselves():
    # Dim enough to lie below the knee, so that only the primaries change.
    colours = np.array(
        [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.8, 0.5, 0.4), (0.2, 0.3, 1)]
    )
    nits = 80 * colours @ TO_BT2020.T
    mapped = ToneMapper(PQ, 9)(pq_signal(nits)[None])[0]
    assert np.abs(display_light(mapped) * 203 / 80 - colours).max() < 0.01


def test_p3_and_bt709_primaries_are_heeded():
    nits = np.array([(80, 0, 0), (0, 80, 0), (0, 0, 80), (40, 60, 50.0)])
    for primaries, matrix in ((1, np.eye(3)), (12, P3_IN_BT709.T), (11, P3_IN_BT709.T)):
        mapped = ToneMapper(PQ, primaries)(pq_signal(nits)[None])[0]
        expected = np.clip(nits @ matrix.T, 0, None)
        # Red and green of P3 rise a little above the knee.
        assert np.allclose(display_light(mapped) * 203, expected, rtol=0.02, atol=1)


def test_bright_colours_keep_their_hue():
    for colour in ((0.1, 0.2, 1), (1, 0.45, 0.05), (0.85, 0.55, 0.42)):
        nits = np.geomspace(50, 1000, 20)[:, None] * np.array(colour) @ TO_BT2020.T
        light = display_light(ToneMapper(PQ, 9)(pq_signal(nits)[None])[0])
        ratios = light / light.max(axis=-1, keepdims=True)
        assert np.abs(ratios - np.array(colour) / max(colour)).max() < 0.02


def test_any_uint16_frame_is_mapped_alike_whatever_its_layout(rng):
    rgb = rng.integers(0, 65536, (31, 17, 3), np.uint16)
    for transfer in (PQ, HLG):
        mapper = ToneMapper(transfer, 9)
        mapped = mapper(rgb)
        assert mapped.dtype == np.uint8 and mapped.shape == rgb.shape
        assert np.array_equal(mapper(np.rot90(rgb)), np.rot90(mapped))
        assert np.array_equal(mapper(rgb[::2, ::-1]), mapped[::2, ::-1])
        assert np.array_equal(mapper(rgb[3:4, 5:6]), mapped[3:4, 5:6])


def test_a_real_pq_file_becomes_the_photograph_it_was_graded_from(tmp_path):
    path = Path(mtujax.__file__).parent / "assets/arches.jpg"
    photo = cv2.resize(cv2.imread(str(path))[..., ::-1], (160, 96))
    nits = 203 * display_light(photo) @ TO_BT2020.T
    encode(tmp_path / "a.mkv", pq_signal(nits))
    _, rgb, mapper = decode(tmp_path / "a.mkv")
    mapped = mapper(rgb)
    # What lies below the knee all over a block is as it was, but for the codec.
    dark = cv2.dilate(photo.max(axis=-1), np.ones((5, 5))) < 170
    error = mapped[dark].astype(float) - photo[dark]
    assert dark.mean() > 0.2
    assert abs(error.mean()) < 1 and np.abs(error).mean() < 6
    assert mapped.mean() == pytest.approx(photo.mean(), abs=6)


def test_a_real_hlg_file_is_mapped_too(tmp_path):
    patches = hlg_grey(np.repeat([0.2, 0.38, 0.6, 0.75, 0.9], 16)).repeat(32, axis=0)
    encode(tmp_path / "a.mkv", patches, transfer=18)
    _, rgb, mapper = decode(tmp_path / "a.mkv")
    mapped = mapper(rgb)[16, 8::16]
    expected = ToneMapper(HLG, 9)(patches)[16, 8::16]
    assert np.abs(mapped.astype(int) - expected).max() <= 2


@pytest.mark.parametrize(
    "display, brightest, peak",
    [
        (1000, None, 1000),
        (4000, None, 4000),
        (4000, 1200, 1200),  # the content never reaches the display's peak
        (1000, 0, 1000),  # 0 is unknown
        (1000, 3000, 1000),
        (None, 800, 800),
        (20000, None, None),
        (50, 20, None),
        (None, None, None),
    ],
)
def test_the_peak_is_read_from_the_metadata(tmp_path, display, brightest, peak):
    metadata = ""
    if display:
        chromaticities = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)"
        metadata += f":master-display={chromaticities}L({display}0000,50)"
    if brightest is not None:
        metadata += f":max-cll={brightest},0"
    encode(tmp_path / "a.mkv", np.zeros((64, 64, 3), np.uint16), metadata=metadata)
    frame, _, _ = decode(tmp_path / "a.mkv")
    assert mastering_peak(frame) == peak


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="got 1"):
        ToneMapper(1, 9)
    for peak in (0.0, -5.0, math.nan):
        with pytest.raises(ValueError, match=f"got {peak}"):
            ToneMapper(PQ, 9, peak)
