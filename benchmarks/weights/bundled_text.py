"""What `bundled.py` measures, as tables, and the goals of bundled weights.

Evaluations come by name: "restored", "blurry", "sharp", and other methods' names; those
of real scenes likewise, but for "sharp".
"""

import dataclasses

import numpy as np

from benchmarks.helpers.limits import Limit, number
from mtujax.common.text import Column, Table

PAPER, KOEHLER = "rt-paper", "koehler"
ALL_FRAMES = "kair"  # the protocol of the real scenes
LEVEL = 1 / 255  # of 8 bits
TOTAL = "all clips"
WORST = 3  # clips that are named


@dataclasses.dataclass
class Scores:
    """What is measured of one network.

    Attributes:
        found: evaluations of the fixed set; {} if it is left out.
        rest: changes at rest, by its clips.
        real: evaluations of the real scenes; {} if they are left out.
    """

    found: dict = dataclasses.field(default_factory=dict)
    rest: dict = dataclasses.field(default_factory=dict)
    real: dict = dataclasses.field(default_factory=dict)

    @property
    def gains(self):
        """Gain in dB of every clip, by the set's name; TOTAL is that of all frames."""
        sets = {
            "fixed set": (self.found, PAPER),
            "real scenes": (self.real, ALL_FRAMES),
        }
        return {name: gains(*of) for name, of in sets.items() if of[0]}


def by_clip(found, *, protocol=PAPER):
    """(PSNR in dB, SSIM) of each clip, and of all."""
    scores = found.protocols[protocol]
    each = {clip: one.sums.means for clip, one in scores.by_video.items()}
    return {**each, TOTAL: scores.means}


def ratios(found, beside=None):
    """Warping error beside that of the sharp frames, of each clip and of all.

    Given another evaluation, beside that of its frames.
    """
    kind, beside = ("restored", beside) if beside else ("sharp", found)
    above, below = steadiness(found, "restored"), steadiness(beside, kind)
    return {clip: np.divide(error, below[clip]) for clip, error in above.items()}


def steadiness(found, kind):
    """Mean warping error of each clip and of all."""
    every = {**found.consistency, TOTAL: found.consistency_total}
    return {clip: sums.means[kind] for clip, sums in every.items()}


def gains(found, protocol=PAPER):
    """PSNR in dB that each clip gains over its blurry frames, and that all do."""
    before, after = (
        by_clip(found[name], protocol=protocol) for name in ("blurry", "restored")
    )
    return {clip: after[clip][0] - before[clip][0] for clip in after}


def psnr_of(found, protocol=PAPER):
    """PSNR in dB of all clips."""
    return by_clip(found, protocol=protocol)[TOTAL][0]


# Goals of the mean gain in dB of each set.
ASKED = {
    "fixed set": {"a CPU alone": 1.8, "half an hour of a GPU": 2.5},
    "real scenes": {"a CPU alone": 1.2, "half an hour of a GPU": 2.5},
}


def limits(scores):
    """What bundled weights must reach, of the sets that were scored."""
    every = scores.gains
    rows = [
        Limit(
            f"{name}: mean gain, after training on {device}", each[TOTAL], least, " dB"
        )
        for name, each in every.items()
        for device, least in ASKED[name].items()
    ]
    each = [gain for of in every.values() for clip, gain in of.items() if clip != TOTAL]
    rows.append(Limit("least gain of a clip", np.min(each), -0.1, " dB"))
    if scores.found:
        rows += _kept(scores.found, scores.rest)
    for name, found, protocol in (
        ("PSNR", scores.found, PAPER),
        ("real scenes: PSNR", scores.real, ALL_FRAMES),
    ):
        for other in others(found):
            reached, least = (psnr_of(found[n], protocol) for n in ("restored", other))
            rows.append(Limit(f"{name} beside {other}", reached, least, " dB"))
    return [dataclasses.replace(row, measured=float(row.measured)) for row in rows]


def _kept(found, rest):
    """What must not become worse; at rest, that no 8-bit colour can change."""
    steady = ratios(found["restored"], found["blurry"])
    whole = steady.pop(TOTAL)
    change = np.max([one["largest"] for one in rest.values()])
    return [
        Limit("sharp input: mean PSNR", psnr_of(found["sharp"]), 36.0, " dB"),
        Limit("warping error, of the blurry frames'", whole, 1.0, at_least=False),
        Limit("the same, most of a clip", np.max([*steady.values()]), 1.0, "", False),
        Limit("at rest: largest change", change, LEVEL, at_least=False),
    ]


def others(found):
    """Names of the methods beside the network."""
    return [name for name in found if name not in ("restored", "blurry", "sharp")]


def clip_table(found, rest):
    """A row for each clip and one for all."""
    columns = [Column("clip", align="l")]
    for protocol in (PAPER, KOEHLER):
        columns += [Column(head, protocol) for head in ("PSNR", "gain", "SSIM")]
    columns += [Column("PSNR", "sharp input")]
    columns += [Column(f"of {kind}", "warping error") for kind in ("sharp", "blurry")]
    columns += [Column(f"at rest, {head}") for head in ("largest", "mean")]
    steady = ratios(found["restored"]), ratios(found["restored"], found["blurry"])
    sharp = by_clip(found["sharp"])
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
        cells += [f"{sharp[clip][0]:.2f}", *(f"{of[clip]:.3f}" for of in steady)]
        rows.append((clip, *cells, number(still["largest"]), number(still["mean"])))
    remarks = tuple(notes(found))
    return Table("clips", caption(found), tuple(columns), tuple(rows), notes=remarks)


def caption(found):
    """What the figures are of."""
    method = found["restored"].method
    return (
        f"{method.name}: {method.parameters:,} parameters, {method.config.dtype}, "
        f"weights {method.sha256[:12]}; PSNR in dB, gain over the blurry frames"
    )


def notes(found):
    """What no clip's row holds."""
    each = {clip: gain for clip, gain in gains(found).items() if clip != TOTAL}
    least = sorted(each.items(), key=lambda pair: pair[1])[:WORST]
    named = ", ".join(f"{clip} ({gain:+.2f} dB)" for clip, gain in least)
    yield f"The least gain: {named}."
    yield (
        "Sharp input: sharp frames restored, against themselves. Warping error: that "
        "of the restored frames over that of sharp, of blurry ones. At rest: a sharp "
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


def gain_table(scores):
    """A row for each real scene, and for all of each set that was scored."""
    real = {
        name: by_clip(one, protocol=ALL_FRAMES) for name, one in scores.real.items()
    }
    names = ["blurry", *others(real), "restored"]
    rows = [
        (clip, *(f"{real[name][clip][0]:.2f}" for name in names), f"{gain:+.2f}")
        for clip, gain in scores.gains["real scenes"].items()
    ]
    rows[-1] = ("real scenes, mean", *rows[-1][1:])
    if scores.found:
        means = [each[TOTAL] for each in scores.gains.values()]
        blank = [""] * (len(names) - 2)
        ends = (f"{psnr_of(scores.found[name]):.2f}" for name in ("blurry", "restored"))
        before, after = ends
        rows += [
            ("fixed set, mean", before, *blank, after, f"{means[0]:+.2f}"),
            ("mean of both", *[""] * len(names), f"{np.mean(means):+.2f}"),
        ]
    columns = Column("scene", align="l"), *map(Column, [*names, "gain"])
    method = scores.real["restored"].method
    remarks = (
        f"{method.name}, weights {method.sha256[:12]}: PSNR in dB and gain over the "
        f"blurry frames, of the real scenes by {ALL_FRAMES}, all frames"
    )
    return Table(
        "gains",
        remarks,
        columns,
        tuple(rows),
        breaks=(len(scores.gains["real scenes"]) - 1,),
    )
