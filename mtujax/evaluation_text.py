"""What an evaluation found, as text for readers: a table of videos, and notes."""

from mtujax.protocols import PROTOCOLS
from mtujax.results import Evaluation
from mtujax.table_text import Column, Table, markdown

_ODD = {
    "infinite": "without any error, counted as 100 dB",
    "unaligned": "black, so that no alignment is defined",
    "invalid": "with NaN or infinity, so that means are NaN",
}


def as_text(found: Evaluation) -> str:
    """Writes the table.

    Args:
        found: the evaluation.

    Returns:
        Markdown: a row for each video and the total, with PSNR in dB and SSIM under
        every protocol, and below it what the numbers rest on.
    """
    columns = [Column("video", align="l"), Column("frames")]
    for name in found.protocols:
        columns += [Column("PSNR", name), Column("SSIM", name)]
    rows = [
        (video.name, str(video.frames), *_cells(found, video.name))
        for video in found.dataset.videos
    ]
    frames = sum(video.frames for video in found.dataset.videos)
    rows.append(("total", str(frames), *_cells(found, None)))
    table = Table(
        slug="evaluation",
        caption=_caption(found),
        columns=tuple(columns),
        rows=tuple(rows),
        notes=tuple(_notes(found)),
    )
    return markdown([table])


def _caption(found):
    about = found.dataset
    where = " ".join(filter(None, (about.name, about.variant, f"({about.split})")))
    method = found.method
    words = [f"{method.name} on {where}"]
    if method.config is not None:
        words.append(f"{method.parameters:,} parameters, {method.config.dtype}")
        words.append(f"weights {method.sha256[:12]}")
    return "; ".join([*words, f"on {found.machine['device']}"])


def _cells(found, video):
    for scores in found.protocols.values():
        one = scores if video is None else scores.by_video[video].sums
        psnr, ssim = one.means
        counted = (scores.total if video is None else one).frames
        yield f"{psnr:.3f}" if counted else ""
        yield f"{ssim:.4f}" if counted else ""


def _notes(found):
    for name, scores in found.protocols.items():
        total = scores.total
        odd = [
            f"{getattr(total, kind)} {words}"
            for kind, words in _ODD.items()
            if getattr(total, kind)
        ]
        among = f" ({'; '.join(odd)})" if odd else ""
        what = f", mean over {scores.average}"
        yield f"{name}: {total.frames} frames count{among}{what}: {_origin(name)}."
    if (motion := found.motion_total) is not None:
        means = motion.means
        yield (
            f"Motion accuracy at 1/4 scale: {means['psnr']:.3f} dB, "
            f"SSIM {means['ssim']:.4f}, over {motion.pairs - motion.undefined} of "
            f"{motion.pairs} pairs and {100 * means['share']:.1f} % of the cells."
        )
    if (steady := found.consistency_total) is not None:
        means = steady.means
        yield (
            f"Warping error: {means['restored']:.3e} between restored frames, "
            f"{means['sharp']:.3e} between the sharp ones, over "
            f"{steady.pairs - steady.undefined} of {steady.pairs} pairs."
        )


def _origin(name):
    protocol = PROTOCOLS.get(name)
    return "unknown here" if protocol is None else protocol.origin
