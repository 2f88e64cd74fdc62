"""What `bundled.py` measures, as tables, and what is asked of bundled weights.

Evaluations come by name: "restored", "blurry", "sharp", and other methods' names.
"""

import dataclasses
import math

import numpy as np

from mtujax.table_text import Column, Table

PAPER, KOEHLER = "rt-paper", "koehler"
LEVEL = 1 / 255  # of 8 bits
TOTAL = "all clips"
WORST = 3  # clips that are named


@dataclasses.dataclass(frozen=True)
class Limit:
    """What is asked of a number: to be at least, or at most, a limit.

    Attributes:
        what: is measured.
        measured: the number found.
        limit: it is asked to keep.
        unit: of both, with a space before it.
        at_least: whether the limit is the least; else it is the most.
    """

    what: str
    measured: float
    limit: float
    unit: str = ""
    at_least: bool = True

    @property
    def missing(self):
        """By how much it falls short; 0 if it is reached, NaN if nothing is known."""
        missing = self.limit - self.measured
        return max(missing if self.at_least else -missing, 0.0)

    @property
    def verdict(self):
        """Reached, or by how much not."""
        if math.isnan(self.measured):
            return "not known"
        if not self.missing:
            return "reached"
        return f"falls short by {number(self.missing)}{self.unit}"


def number(value):
    """Three digits after the point, or three that count of what is small."""
    return f"{value:.3g}" if 0 < abs(value) < 0.01 else f"{value:.3f}"


def by_clip(found, *, protocol=PAPER):
    """(PSNR in dB, SSIM) of each clip, and of all."""
    scores = found.protocols[protocol]
    each = {clip: one.sums.means for clip, one in scores.by_video.items()}
    return {**each, TOTAL: scores.means}


def ratios(found):
    """Warping error beside that of the sharp frames, of each clip and of all."""
    every = {**found.consistency, TOTAL: found.consistency_total}
    means = {clip: sums.means for clip, sums in every.items()}
    return {clip: np.divide(m["restored"], m["sharp"]) for clip, m in means.items()}


def gains(found):
    """PSNR in dB that each clip gains over its blurry frames."""
    before, after = by_clip(found["blurry"]), by_clip(found["restored"])
    return {clip: after[clip][0] - before[clip][0] for clip in after if clip != TOTAL}


def psnr_of(found):
    """PSNR in dB of all clips."""
    return by_clip(found)[TOTAL][0]


def limits(found, rest):
    """What bundled weights must reach; at rest, that no 8-bit colour can change."""
    reached = psnr_of(found["restored"])
    gain = reached - psnr_of(found["blurry"])
    least = np.min([psnr for psnr, _ in by_clip(found["sharp"]).values()])
    steady = ratios(found["restored"])
    change = np.max([one["largest"] for one in rest.values()])
    rows = [
        Limit("mean gain, after training on a CPU alone", gain, 1.0, " dB"),
        Limit("mean gain, after training on a GPU", gain, 2.5, " dB"),
        Limit("least gain of a clip", np.min([*gains(found).values()]), -0.1, " dB"),
        Limit("sharp input: least PSNR of a clip", least, 38.0, " dB"),
        Limit("warping error ratio", steady.pop(TOTAL), 1.1, at_least=False),
        Limit("the same, most of a clip", np.max([*steady.values()]), 1.1, "", False),
        Limit("at rest: largest change", change, LEVEL, at_least=False),
    ]
    for name in others(found):
        rows.append(Limit(f"PSNR beside {name}", reached, psnr_of(found[name]), " dB"))
    return [dataclasses.replace(row, measured=float(row.measured)) for row in rows]


def others(found):
    """Names of the methods beside the network."""
    return [name for name in found if name not in ("restored", "blurry", "sharp")]


def clip_table(found, rest):
    """A row for each clip and one for all."""
    columns = [Column("clip", align="l")]
    for protocol in (PAPER, KOEHLER):
        columns += [Column(head, protocol) for head in ("PSNR", "gain", "SSIM")]
    columns += [Column("PSNR", "sharp input"), Column("warping error ratio")]
    columns += [Column(f"at rest, {head}") for head in ("largest", "mean")]
    steady, sharp = ratios(found["restored"]), by_clip(found["sharp"])
    changes = {n: [one[n] for one in rest.values()] for n in ("largest", "mean")}
    at_rest_all = {"largest": max(changes["largest"]), "mean": np.mean(changes["mean"])}
    rows = []
    for clip in (*rest, TOTAL):
        cells = []
        for protocol in (PAPER, KOEHLER):
            before = by_clip(found["blurry"], protocol=protocol)[clip][0]
            psnr, ssim = by_clip(found["restored"], protocol=protocol)[clip]
            cells += [f"{psnr:.2f}", f"{psnr - before:+.2f}", f"{ssim:.4f}"]
        still = rest.get(clip, at_rest_all)
        cells += [f"{sharp[clip][0]:.2f}", f"{steady[clip]:.3f}"]
        rows.append((clip, *cells, number(still["largest"]), number(still["mean"])))
    told = tuple(notes(found))
    return Table("clips", caption(found), tuple(columns), tuple(rows), notes=told)


def caption(found):
    """What the figures are of."""
    method = found["restored"].method
    return (
        f"{method.name}: {method.parameters:,} parameters, {method.config.dtype}, "
        f"weights {method.sha256[:12]}; PSNR in dB, gain over the blurry frames"
    )


def notes(found):
    """What no clip's row holds."""
    least = sorted(gains(found).items(), key=lambda pair: pair[1])[:WORST]
    named = ", ".join(f"{clip} ({gain:+.2f} dB)" for clip, gain in least)
    yield f"The least gain: {named}."
    yield (
        "Sharp input: sharp frames restored, against themselves. Warping error ratio: "
        "that of the restored frames over that of the sharp ones. At rest: a sharp "
        "frame repeated, and what still changes between restored frames, of [0, 1]."
    )
    errors = {n: found[n].consistency_total.means for n in ("blurry", "restored")}
    yield (
        f"Warping error: {errors['restored']['restored']:.3e} restored, "
        f"{errors['blurry']['restored']:.3e} blurry, "
        f"{errors['restored']['sharp']:.3e} sharp."
    )
    if motion := found["restored"].motion_total:
        means = motion.means
        yield (
            f"Motion accuracy at 1/4 scale: {means['psnr']:.2f} dB, SSIM "
            f"{means['ssim']:.4f}."
        )


def method_table(found):
    """A row for each method, of all clips."""
    columns = [Column("method", align="l")]
    columns += [Column(m, p) for p in (PAPER, KOEHLER) for m in ("PSNR", "SSIM")]
    columns.append(Column("warping error ratio"))
    rows = []
    for name in ("blurry", *others(found), "restored"):
        means = (found[name].protocols[p].means for p in (PAPER, KOEHLER))
        cells = (text for p, s in means for text in (f"{p:.2f}", f"{s:.4f}"))
        rows.append((name, *cells, f"{ratios(found[name])[TOTAL]:.3f}"))
    return Table("methods", "All clips, by method", tuple(columns), tuple(rows))


def limit_table(rows):
    """A row for each thing that is asked."""
    columns = Column("asked of", align="l"), Column("measured"), Column("limit")
    cells = (
        (
            row.what,
            number(row.measured) + row.unit,
            f"{'≥' if row.at_least else '≤'} {number(row.limit)}{row.unit}",
            row.verdict,
        )
        for row in rows
    )
    columns = (*columns, Column("", align="l"))
    return Table("limits", "What is asked", columns, tuple(cells))
