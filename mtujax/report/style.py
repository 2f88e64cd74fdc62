"""Style of figures for print: sizes, fonts, colours, captions.

Letters: H W pixels. Colours are those of Okabe and Ito (2008), which readers with any
colour vision can distinguish; shapes or words repeat what matters.
"""

import contextlib
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from mtujax.common.files import whole_output
from mtujax.errors import UserError

TEXT_WIDTH = 7.0
"""Width in inches of a printed figure over two columns."""


FONT_SIZE = 7.5
"""Size of the text in points, as printed; no text is smaller than 7."""


FORMATS = (".pdf", ".png")
"""File formats of every figure."""


COLOURS = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "purple": "#CC79A7",
}
"""The palette of Okabe and Ito, without yellow, which hardly shows on paper."""


_DPI = 300
_WRAP = 88
_RULES = {
    "font.size": FONT_SIZE,
    "axes.titlesize": FONT_SIZE,
    "axes.labelsize": FONT_SIZE,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "lines.linewidth": 0.9,
    "axes.titlepad": 3.0,
    "pdf.fonttype": 42,  # text stays text, also in journals that refuse Type 3
    "svg.fonttype": "none",
}


def figure_files(path: Path) -> list[Path]:
    """Lists the files that `printed` writes: one per format, then the caption."""
    return [path.with_name(path.name + suffix) for suffix in (*FORMATS, ".txt")]


@contextlib.contextmanager
def printed(path: Path, size: tuple[float, float], caption: str) -> Iterator[Figure]:
    """Yields a figure of (width, height) inches, then writes it with its caption."""
    with rc_context(_RULES):
        figure = Figure(figsize=size, layout="constrained")
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
        FigureCanvasAgg(figure)  # measures text
        yield figure
        try:
            _write(figure, path, caption)
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error})") from None


def _write(figure, path, caption):
    *pictures, text = figure_files(path)
    for file in pictures:
        # Without a date, so that the same results give the same file.
        undated = {"CreationDate": None} if file.suffix == ".pdf" else {}
        with whole_output(file, folder=False) as temporary:
            figure.savefig(temporary, dpi=_DPI, metadata=undated)
    with whole_output(text, folder=False) as temporary:
        temporary.write_text(textwrap.fill(caption, _WRAP) + "\n", "utf-8")


def show(axes: Axes, picture: np.ndarray, label: str, **options) -> AxesImage:
    """Shows [H, W] or [H, W, 3], float in [0, 1] or uint8, with a label below."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_linewidth(0.3)
    axes.set_xlabel(label, labelpad=2.5)
    return axes.imshow(picture, interpolation="antialiased", **options)
