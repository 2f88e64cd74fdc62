"""Findings of an evaluation as text for readers: a table of videos, and notes."""

from collections.abc import Iterator, Sequence

from mtujax.common.text import Column, Table, markdown
from mtujax.config import MOTION_STRIDE
from mtujax.evaluation.results import Evaluation
from mtujax.evaluation.scores import VideoRecord
from mtujax.metrics.protocols import PROTOCOLS

_ODD = {
    "infinite": "without any error, counted as 100 dB",
    "unaligned": "black, so that no alignment is defined",
    "invalid": "with NaN or infinity, so that means are NaN",
}


def as_text(found: Evaluation) -> str:
    """Formats the evaluation as Markdown: a row per video, the total, and notes.

    Examples:
        >>> found = evaluate(
        ...     "mine.safetensors", dataset="pairs", path="set", out="text"
        ... )
        >>> "rt-paper" in as_text(found)
        True

    Args:
        found: what was scored.

    Returns:
        A table of PSNR in dB, that of the blurry frames first, and SSIM under every
        protocol, and of the end-point error in pixels where exact flow is known.
    """
    columns = [Column("video", align="l"), Column("frames")]
    for name in found.protocols:
        columns += [Column(head, name) for head in ("blurry PSNR", "PSNR", "SSIM")]
    if _exact(found):
        columns.append(Column("end-point error"))
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
        blurry = one.blurry_mean
        yield "" if blurry is None else f"{blurry:.3f}"
        yield f"{psnr:.3f}" if counted else ""
        yield f"{ssim:.4f}" if counted else ""
    if _exact(found):
        pairs = found.motion_total if video is None else found.motion[video]
        yield f"{pairs.means['end_point_error']:.2f}" if pairs.known else ""


def _exact(found):
    """Whether exact flow was known anywhere."""
    return found.motion is not None and found.motion_total.known > 0


def _notes(found):
    for name, scores in found.protocols.items():
        total = scores.total
        odd = [
            f"{getattr(total, kind)} {words}"
            for kind, words in _ODD.items()
            if getattr(total, kind)
        ]
        among = f" ({'; '.join(odd)})" if odd else ""
        what, known = f", mean over {scores.average}", PROTOCOLS.get(name)
        origin = known.origin if known else "unknown here"
        yield f"{name}: {total.frames} frames count{among}{what}: {origin}."
    if found.motion is not None:
        yield from _of_motion(found.motion_total)
    if found.consistency is not None:
        yield from _of_consistency(found.consistency_total)


def _of_motion(motion):
    means, defined = motion.means, motion.pairs - motion.undefined
    perfect = f" ({motion.infinite} {_ODD['infinite']})" if motion.infinite else ""
    among = f"over {defined} of {motion.pairs} pairs{perfect}"
    accuracy = f"Motion accuracy at 1/{MOTION_STRIDE} scale"
    if defined:
        yield (
            f"{accuracy}: {means['psnr']:.3f} dB, "
            f"SSIM {means['ssim']:.4f}, {among} and {100 * means['share']:.1f} % of "
            "the cells."
        )
    else:
        yield f"{accuracy}: none, {among}."
    if motion.known:
        yield (
            f"End-point error: {means['end_point_error']:.2f} pixels, over "
            f"{motion.known} pairs whose exact flow is known."
        )


def _of_consistency(steady):
    means, defined = steady.means, steady.pairs - steady.undefined
    among = f"over {defined} of {steady.pairs} pairs"
    if not defined:
        yield f"Warping error: none, {among}."
        return
    odd = f" ({steady.invalid} {_ODD['invalid']})" if steady.invalid else ""
    yield (
        f"Warping error: {means['restored']:.3e} between restored frames, "
        f"{means['sharp']:.3e} between the sharp ones, {among}{odd}."
    )


def video_rows(records: Sequence[VideoRecord], found: Evaluation) -> Iterator[dict]:
    """Yields the rows of the table of videos, then the total; no mean gives None."""
    # Each has the name, frames, and for each protocol the frames that count, PSNR in
    # dB, SSIM, PSNR of the blurry frames, and numbers of infinite, unaligned and
    # invalid ones; then means and counts of motion accuracy and of consistency, if
    # requested.
    for record in records:
        row = {"video": record.video.name, "frames": record.video.frames}
        for name, one in record.protocols.items():
            row |= _score_cells(name, one.sums, one.sums)
        yield row | _pair_cells(record.motion, record.consistency)
    row = {"video": "total", "frames": sum(r.video.frames for r in records)}
    for name, scores in found.protocols.items():
        row |= _score_cells(name, scores.total, scores)
    yield row | _pair_cells(found.motion_total, found.consistency_total)


def _score_cells(protocol, sums, averaged):
    psnr, ssim = averaged.means if sums.frames else (None, None)
    values = {"counted": sums.frames, "psnr": psnr, "ssim": ssim}
    values["blurry_psnr"] = averaged.blurry_mean
    values |= {n: getattr(sums, n) for n in ("infinite", "unaligned", "invalid")}
    return {f"{protocol} {name}": value for name, value in values.items()}


def _pair_cells(motion, consistency):
    return {
        f"{kind} {name}": value
        for kind, sums in {"motion": motion, "consistency": consistency}.items()
        if sums is not None
        for name, value in sums.summary.items()
    }
