"""The pictures of docs/explanation and of docs/contributing.md, drawn as SVG.

    python scripts/diagrams.py          # writes them; a test compares what is committed

A picture is a grid of boxes with arrows between them. The floors of the house are those
that tests hold, tests/helpers/floors.py.
"""

import runpy
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).parent.parent
_WIDTH, _HEIGHT, _ACROSS, _DOWN, _EDGE = 176, 44, 204, 68, 20
_FILLS = {
    "data": "#eceff1",
    "layer": "#bbdefb",
    "fixed": "#ffe0b2",
    "state": "#c8e6c9",
    "training": "#f3e5f5",
}
_KEYS = {
    "data": "frames and files",
    "layer": "learned layer",
    "fixed": "no weights",
    "state": "from the frame before",
    "training": "in training only",
}


class Picture:
    """Boxes at (column, row) of a grid, and arrows between them."""

    def __init__(self, title: str):
        """Starts empty; the title is what a screen reader says."""
        self._title, self._boxes, self._shapes = title, {}, []
        self._kinds, self._right, self._bottom = {}, 0.0, 0.0

    def box(self, name: str, column: float, row: float, kind: str, text: str) -> None:
        """Draws a box; its text has lines, of which the first is bold."""
        x, y = _EDGE + column * _ACROSS, _EDGE + row * _DOWN
        self._boxes[name], self._kinds[kind] = (x, y), None
        self._reach(x + _WIDTH, y + _HEIGHT)
        dashed = ' stroke-dasharray="4 3"' if kind == "training" else ""
        self._shapes.append(
            f'<rect x="{x:g}" y="{y:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="5" '
            f'fill="{_FILLS[kind]}" stroke="#455a64"{dashed}/>'
        )
        lines = text.split("\n")
        for n, line in enumerate(lines):
            at = y + _HEIGHT / 2 + 4.5 + 15 * (n - (len(lines) - 1) / 2)
            self._text(x + _WIDTH / 2, at, line, bold=not n, middle=True)

    def arrow(self, start: str, end: str, *, by: float | None = None) -> None:
        """Draws an arrow; `by` is the column next to all boxes by which it goes."""
        (x, y), (u, v) = self._boxes[start], self._boxes[end]
        middle, centre = y + _HEIGHT / 2, x + _WIDTH / 2
        if by is not None:
            side = _EDGE + by * _ACROSS
            first, last = (p + _WIDTH * (side > p) for p in (x, u))
            level = v + _HEIGHT / 2
            points = [(first, middle), (side, middle), (side, level), (last, level)]
            self._reach(side, 0)
        elif y == v:
            points = [(x + _WIDTH, middle), (u, middle)]
            points = points if u > x else [(x, middle), (u + _WIDTH, middle)]
        elif x == u:
            points = [(centre, y + _HEIGHT), (centre, v)]
        else:  # into the upper edge, beside what comes from straight above
            aside = u + _WIDTH * (0.75 if x > u else 0.25)
            between = v - (_DOWN - _HEIGHT) / 2
            points = [(centre, y + _HEIGHT), (centre, between), (aside, between)]
            points.append((aside, v))
        path = " ".join(f"{a:g},{b:g}" for a, b in points)
        self._shapes.append(
            f'<polyline points="{path}" fill="none" stroke="#455a64" '
            'stroke-width="1.4" marker-end="url(#tip)"/>'
        )

    def svg(self) -> str:
        """The picture with a legend, on white, so that it is read on a dark page."""
        top = self._bottom + 26
        if len(self._kinds) > 1:
            for n, kind in enumerate(k for k in _FILLS if k in self._kinds):
                x = _EDGE + 165 * n
                self._shapes.append(
                    f'<rect x="{x}" y="{top - 10:g}" width="12" height="12" '
                    f'fill="{_FILLS[kind]}" stroke="#455a64"/>'
                )
                self._text(x + 18, top, _KEYS[kind])
                self._reach(x + 150, top)
        width, height = self._right + _EDGE, self._bottom + _EDGE
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" '
                f'height="{height:g}" viewBox="0 0 {width:g} {height:g}" '
                'font-family="sans-serif" font-size="12" role="img">',
                f"<title>{escape(self._title)}</title>",
                '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" '
                'markerWidth="7" markerHeight="7" orient="auto">'
                '<path d="M0,0 L8,4 L0,8 z" fill="#455a64"/></marker>',
                '<rect width="100%" height="100%" rx="8" fill="#ffffff"/>',
                *self._shapes,
                "</svg>\n",
            ]
        )

    def _reach(self, x, y):
        self._right, self._bottom = max(self._right, x), max(self._bottom, y)

    def _text(self, x, y, text, *, bold=False, middle=False):
        weight = ' font-weight="600"' if bold else ""
        anchor = ' text-anchor="middle"' if middle else ""
        self._shapes.append(
            f'<text x="{x:g}" y="{y:g}" fill="#212121"{weight}{anchor}>'
            f"{escape(text)}</text>"
        )


def _drawn(title, boxes, arrows):
    """A picture of boxes "name column row kind text|more", and arrows "start end"."""
    picture = Picture(title)
    for line in boxes.strip().splitlines():
        name, column, row, kind, text = line.split(maxsplit=4)
        text = text.replace("|", "\n")
        picture.box(name, float(column), float(row), kind, text)
    for words in arrows.replace("\n", " ").split(","):
        start, end, *by = words.split()
        picture.arrow(start, end, by=float(by[0]) if by else None)
    return picture


def network() -> Picture:
    """MTU2 as released."""
    return _drawn(
        "The published network of two units, for one frame",
        """
        back      0 0  state     R(t-1)|restored frame
        around    1 0  data      I(t-2) I(t-1)|I(t+1) I(t+2)
        now       2 0  data      I(t)|blurry frame
        temporal  1 1  layer     temporal|conv 3x3, 15 to 26
        structure 2 1  layer     structure|conv 3x3, 3 to 26
        both      1 2  fixed     concatenate|52 channels
        detail1   1 3  layer     detail network 1|U-Net, 52 to 26
        inject    2 3  fixed     add|structure injection
        motion    2 4  layer     motion layer|conv 5x5 / 4, 26 to 52
        match     2 5  fixed     match|21 x 21 displacements
        before    3 5  state     m(t-1)|motion features
        move      2 6  fixed     move|by the displacement
        detail0   3 6  state     d(t-1)|detail of unit 2
        joined    1 6  fixed     concatenate|52 channels
        early     0 7  training  deblur layer 1|conv 3x3, 52 to 3
        detail2   1 7  layer     detail network 2|U-Net, 52 to 26
        deblur    1 8  layer     deblur layer 2|conv 3x3, 26 to 3
        add       1 9  fixed     add|residual learning
        out       1 10 data      R(t)|restored frame
        """,
        """back temporal, around temporal, now structure, temporal both, structure both,
        both detail1, detail1 inject, structure inject, inject motion, motion match,
        before match, match move, detail0 move, move joined, detail1 joined,
        joined early, joined detail2, detail2 deblur, deblur add, add out,
        now add 4""",
    )


def fast() -> Picture:
    """The bundled network for files."""
    return _drawn(
        "The bundled network `fast`, for one frame",
        """
        window    0 0  data   I(t-2) ... I(t+2)|window of five frames
        back      1 0  state  R(t-1)|with the window's others
        now       2 0  data   I(t)|blurry frame
        motion    0 1  fixed  motion of each patch|Lucas-Kanade
        patches   1 1  fixed  patches of 2x2|15 to 60 channels
        patches2  2 1  fixed  patches of 2x2|3 to 12 channels
        along     0 2  fixed  samples along it|of window, R(t-1); spectrum
        steered   0 3  layer  steered|conv 1x1, 155 to 32
        temporal  1 3  layer  temporal|conv 3x3, 60 to 32
        structure 2 3  layer  structure|conv 3x3, 12 to 32
        both      1 4  fixed  concatenate|64 channels
        detail    1 5  layer  detail network|U-Net, 64 to 32
        inject    2 5  fixed  add|structure injection
        layer     2 6  layer  motion layer|conv 5x5 / 4, 32 to 64
        match     2 7  fixed  match|21 x 21 displacements
        before    3 7  state  m(t-1)|motion features
        move      2 8  fixed  move|by the displacement
        detail0   3 8  state  d(t-1)|detail features
        joined    1 8  fixed  concatenate|64 channels
        deblur    1 9  layer  deblur layer|conv 3x3, 64 to 12 + 26 + 4
        filter    1 10 fixed  filter|26 weights a patch
        pixels    1 11 fixed  patches to pixels|12 to 3 channels
        add       1 12 fixed  add|residual learning
        mix       1 13 fixed  mix|a share of R(t-1), moved
        out       1 14 data   R(t)|restored frame
        """,
        """window motion, back patches, now patches2, motion along, along steered,
        patches temporal, patches2 structure, steered temporal, temporal both,
        structure both, both detail, detail inject, structure inject, inject layer,
        layer match, before match, match move, detail0 move, move joined,
        detail joined, joined deblur, deblur filter, filter pixels, pixels add,
        add mix, mix out, along filter -0.07, along mix -0.07, now add 4""",
    )


def training() -> Picture:
    """From photographs or a dataset to weights."""
    return _drawn(
        "The data's way in training",
        """
        photos   0 0 data   photographs|a folder
        set      2 0 data   a data set|blurry and sharp frames
        prepared 2 1 data   data prepare|records, arrays; optional
        flow     3 1 data   motion of the frames|kept, DIS, LiteFlowNet
        film     0 1 fixed  film them|shake, objects, exposure
        exact    0 2 data   clips|and their exact motion
        clips    2 2 fixed  clips|crop, turn, flip
        labels   3 2 fixed  motion labels|class of each cell
        batch    1 3 data   batch|B clips of T frames
        net      1 4 layer  network|frame after frame
        losses   1 5 fixed  deblurring, motion loss|gradients
        update   1 6 fixed  optimizers|weights, moving average
        log      0 7 data   log.csv, TensorBoard|validation.csv
        checks   1 7 data   checkpoints|to resume from
        export   1 8 data   mtujax export|NAME.safetensors
        """,
        """photos film, set prepared, prepared clips, flow labels, film exact,
        exact batch, clips batch, labels batch, batch net, net losses, losses update,
        update log, update checks, checks export""",
    )


def deblurring() -> Picture:
    """From a video to a restored video."""
    return _drawn(
        "The data's way in mtujax deblur",
        """
        input   1 0 data   video, folder or pipe
        read    1 1 fixed  decode|to RGB, own thread
        cuts    1 2 fixed  scene cuts|state starts again
        stream  1 3 layer  network|on the device
        state   0 3 state  recurrent state|motion, detail, R(t-1)
        write   1 4 fixed  encode|own thread
        sides   2 4 data   sound, subtitles,|tags, chapters
        parts   1 5 data   finished segments|for --resume
        output  1 6 data   video, folder or pipe|complete, under its name
        """,
        """input read, read cuts, cuts stream, state stream, stream write,
        write parts, sides parts, parts output""",
    )


def house() -> Picture:
    """Folders and top modules by floor; each imports lower ones only."""
    floors = runpy.run_path(str(ROOT / "tests/helpers/floors.py"))["FLOORS"]
    picture = Picture("The floors of the house: each imports lower ones only")
    for row, names in enumerate(reversed(floors)):
        for column, name in enumerate(names.split()):
            slash = "/" * (ROOT / "mtujax" / name).is_dir()
            picture.box(name, column, row * 0.8, "data", name + slash)
    return picture


PICTURES = {
    "docs/explanation/network.svg": network,
    "docs/explanation/fast.svg": fast,
    "docs/explanation/training.svg": training,
    "docs/explanation/deblurring.svg": deblurring,
    "docs/house.svg": house,
}
"""All of them, by the file in the clone that holds each."""


if __name__ == "__main__":
    for path, drawn in PICTURES.items():
        (ROOT / path).write_text(drawn().svg(), "utf-8")
