"""Figures for print: what they show, that it is right, and that it can be read."""

import cv2
import features
import numpy as np
import pytest
from features import HEIGHT, RADIUS, STEP, WIDTH, moving

from mtujax.errors import UserError
from mtujax.report import style as report_style
from mtujax.report.crops import Box, Strip, draw_crops, liveliest_box
from mtujax.report.efficiency import draw_efficiency, efficiency_points
from mtujax.report.motion import (
    KINDS,
    Pair,
    align,
    draw_alignment,
    draw_features,
    draw_search,
    motion_between,
)
from mtujax.report.paper import TABLES
from mtujax.report.style import TEXT_WIDTH, figure_files, printed
from mtujax.report.tables import Measured

seen = features.seen


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are drawn, with their captions, in place of writing them."""
    figures = []
    monkeypatch.setattr(
        report_style, "_write", lambda *about: figures.append((about[0], about[2]))
    )
    return figures


@pytest.fixture(scope="module")
def pair(seen):
    clip = moving()
    flow = np.zeros((HEIGHT, WIDTH, 2), np.float32)
    flow[..., 0] = -STEP
    return Pair("Moving right.", *seen, (clip[1], clip[2]), flow)


def texts(figure):
    """Texts that show, with their sizes in points."""
    found = figure.findobj(lambda one: hasattr(one, "get_fontsize"))
    return {t.get_text(): t.get_fontsize() for t in found if t.get_text()}


def pictures(figure):
    return [image for axes in figure.axes for image in axes.images]


def test_the_box_is_where_frames_differ_most():
    rng = np.random.default_rng(1)
    one = rng.integers(0, 100, (30, 44, 3), np.uint8)
    other = one.copy()
    other[9:20, 17:33] += rng.integers(0, 100, (11, 16, 3), np.uint8)
    box = liveliest_box(one, other)
    change = np.abs(other.astype(int) - one)
    sums = {
        (x, y): change[y : y + 7, x : x + 11].sum()
        for y in range(30 - 7 + 1)
        for x in range(44 - 11 + 1)
    }
    assert box[:2] == max(sums, key=sums.get) and box[2:] == (11, 7)


def measured(key="mtu2", dataset="dvd", protocol="rt-paper", **numbers):
    return Measured(key, "mine", dataset, protocol, **numbers)


def test_points_are_the_reported_and_those_measured_in_full():
    found = efficiency_points(
        "dvd",
        [
            measured(psnr=30.0, milliseconds=9.0),
            measured("x", psnr=29.0, milliseconds=5.0),
            measured(psnr=30.0),
            measured(milliseconds=3.0),
            measured(psnr=31.0, milliseconds=9.0, protocol="koehler"),
            measured(psnr=31.0, milliseconds=9.0, dataset="gopro"),
        ],
    )
    reported = TABLES[3].rows
    assert [p.psnr for p in found[:-2]] == [row.psnr for row in reported]
    assert [p.milliseconds for p in found[:-2]] == [r.milliseconds for r in reported]
    new = [(p.label, p.kind, p.milliseconds, p.psnr) for p in found[-2:]]
    assert new == [("MTU2", "measured", 9.0, 30.0), ("mine", "measured", 5.0, 29.0)]


def test_the_efficiency_figure_shows_every_point_with_its_name(drawn, tmp_path):
    draw_efficiency([measured(psnr=30.0, milliseconds=9.0)], tmp_path / "e")
    ((figure, caption),) = drawn
    assert "(1) were measured" in caption
    for axes, number in zip(figure.axes, (3, 4), strict=True):
        assert axes.get_xscale() == "log"
        rows = TABLES[number].rows
        shown = np.concatenate([c.get_offsets() for c in axes.collections])
        extra = 1 if number == 3 else 0
        assert len(shown) == len(rows) + extra
        (low, high), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        assert (shown > (low, bottom)).all() and (shown < (high, top)).all()
        names = sorted(text.get_text() for text in axes.texts)
        assert names == sorted([row.label for row in rows] + ["MTU2"] * extra)
        boxes = [text.get_window_extent().extents for text in axes.texts]
        for i, one in enumerate(boxes):
            for other in boxes[:i]:
                apart = (one[:2] >= other[2:]) | (one[2:] <= other[:2])
                assert apart.any()
        outlines = [c.get_paths()[0].vertices.tobytes() for c in axes.collections]
        assert len(set(outlines)) == len(outlines)  # told apart without colour


def test_the_alignment_figure_has_a_panel_per_kind(drawn, pair, tmp_path):
    draw_alignment(pair, tmp_path / "a", radius=RADIUS)
    ((figure, caption),) = drawn
    assert caption.endswith("Moving right.")
    shown = pictures(figure)
    for number, kind in enumerate(KINDS, 1):
        moves = motion_between(pair.before, pair.now, kind, radius=RADIUS)
        one = align(moves, *pair.sharp)
        np.testing.assert_allclose(shown[number].get_array(), one.aligned)
        error = shown[number + 4].get_array()
        np.testing.assert_allclose(np.ma.filled(error, np.nan), one.error)
        assert any(f"{one.psnr:.2f} dB" in text for text in texts(figure))


def test_the_search_figure_ends_with_the_exact_motion(drawn, pair, tmp_path):
    draw_search([pair, pair], tmp_path / "s")
    ((figure, _),) = drawn
    shown = pictures(figure)
    assert len(shown) == 16
    not_moved, exact = shown[4].get_array(), shown[7].get_array()
    assert np.nanmean(not_moved) > 0.02
    assert np.ma.max(exact[:, 2:15]) < 1e-6


def test_the_feature_figure_compares_where_there_is_something(drawn, seen, tmp_path):
    draw_features(seen[1], tmp_path / "f", title="x")
    draw_features(seen[1], tmp_path / "g", title="x", without=seen[0])
    (alone, first), (both, second) = drawn
    assert len(pictures(alone)) == 12 and len(pictures(both)) == 15
    assert "No network trained without" in first and "No network" not in second
    assert "detail, without injection" in texts(both)
    spread = seen[1].detail.std(axis=(0, 1))
    top = pictures(alone)[1].get_array()
    np.testing.assert_array_equal(top, seen[1].detail[..., spread.argmax()])


def test_crops_show_the_same_part_of_both_frames(drawn, tmp_path):
    clip = moving()
    strips = [Strip("blurry", tuple(clip[:2])), Strip("sharp", tuple(clip[1:3]))]
    draw_crops(strips, tmp_path / "c", title="x", box=Box(10, 5, 20, 12))
    ((figure, caption),) = drawn
    assert "20x12 pixels from (10, 5)" in caption
    whole, *parts = (image.get_array() for image in pictures(figure))
    np.testing.assert_array_equal(whole, clip[0])
    for part, number in zip(parts, (0, 1, 1, 2), strict=True):
        np.testing.assert_array_equal(part, clip[number, 5:17, 10:30])


def test_crops_refuse_what_does_not_fit(tmp_path):
    clip = moving()
    one = Strip("a", tuple(clip[:2]))
    with pytest.raises(UserError, match="1 to show side by side: give 2 to 8"):
        draw_crops([one], tmp_path / "c", title="")
    small = Strip("b", tuple(clip[:2, :40]))
    with pytest.raises(UserError, match="b: frames of 62x40, but a has 62x48"):
        draw_crops([one, small], tmp_path / "c", title="")
    for box in (Box(50, 0, 20, 10), Box(-1, 0, 5, 5), Box(0, 0, 0, 5)):
        with pytest.raises(UserError, match=f"box {box.x},.*does not lie in frames"):
            draw_crops([one, one], tmp_path / "c", title="", box=box)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_every_figure_can_be_read_in_print(drawn, pair, seen, tmp_path):
    draw_efficiency([], tmp_path / "e")
    draw_alignment(pair, tmp_path / "a", radius=RADIUS)
    draw_features(seen[1], tmp_path / "f", title="x")
    strips = [Strip(name, tuple(moving()[:2])) for name in "ab"]
    draw_crops(strips, tmp_path / "c", title="x")
    assert len(drawn) == 4
    for figure, caption in drawn:
        figure.draw_without_rendering()
        assert figure.get_figwidth() == TEXT_WIDTH and figure.get_figheight() < 9
        assert min(texts(figure).values()) >= 7
        assert len(caption) > 100
        for axes in figure.axes:  # nothing is cut off
            box = axes.get_tightbbox().extents / figure.dpi
            assert (box[:2] > -0.01).all()
            assert (box[2:] < figure.get_size_inches() + 0.01).all()


def test_a_figure_is_written_in_every_format_with_its_caption(tmp_path):
    path = tmp_path / "fig.v2"
    with printed(path, (2.0, 1.0), "What it shows. " * 10) as figure:
        figure.subplots().plot([1, 2])
    assert sorted(tmp_path.iterdir()) == sorted(figure_files(path))
    assert (tmp_path / "fig.v2.pdf").read_bytes().startswith(b"%PDF")
    assert cv2.imread(str(tmp_path / "fig.v2.png")).shape == (300, 600, 3)
    text = (tmp_path / "fig.v2.txt").read_text()
    assert text.startswith("What it shows.") and max(map(len, text.split("\n"))) <= 88
    first = (tmp_path / "fig.v2.pdf").read_bytes()
    with printed(path, (2.0, 1.0), "Again.") as figure:
        figure.subplots().plot([1, 2])
    assert (tmp_path / "fig.v2.pdf").read_bytes() == first


def test_what_cannot_be_drawn_is_one_line(tmp_path):
    with pytest.raises(UserError, match="fig: cannot be written"):
        with printed(tmp_path / "none" / "fig", (1.0, 1.0), "x"):
            pass
    assert not list(tmp_path.iterdir())
