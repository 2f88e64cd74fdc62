"""Draws docs/lab-notes/learning.png: gain against pixels, from the training log.

    python scripts/learning_curve.py

Each stretch of `fast` whose whole frames were scored is a point; hollow ones were not
bundled, and the next stretch began before them.
"""

import re
from pathlib import Path

import matplotlib.pyplot as plt

NOTES = Path(__file__).resolve().parents[1] / "docs" / "lab-notes"
BLURRY = 25.85  # dB, whole frames of the fixed set
SETS = {"real scenes": "tab:blue", "fixed set": "tab:orange"}


def stretches():
    """Yields (million pixels, gain of real scenes, of the fixed set, whether kept)."""
    text = (NOTES / "training-log.md").read_text().split("\n## ")[1]
    total = 0
    for row in re.findall(r"^\|.+\|$", text, re.M)[2:]:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        total += (pixels := int(cells[4].replace(",", "")))
        scores = re.search(r"whole frames ([\d.]+), real scenes \+([\d.]+)", cells[-1])
        kept = "not bundled" not in cells[-1]
        if scores:
            fixed, real = map(float, scores.groups())
            yield total, real, fixed - BLURRY, kept
        if not kept:
            total -= pixels


def main():
    """Draws and saves the figure."""
    points = [*stretches()]
    figure, axes = plt.subplots(figsize=(7, 4), dpi=96, layout="constrained")
    for k, (name, colour) in enumerate(SETS.items(), start=1):
        kept = [(p[0], p[k]) for p in points if p[-1]]
        left = [(p[0], p[k]) for p in points if not p[-1]]
        axes.plot(*zip(*kept, strict=True), "o-", color=colour, label=name)
        axes.plot(*zip(*left, strict=True), "o", color=colour, mfc="white")
    axes.set_xscale("log")
    axes.set_xticks(ticks := [1000, 2000, 4000, 8000], map(str, ticks))
    axes.minorticks_off()
    axes.set_ylim(0, None)
    axes.set_xlabel("million pixels that the weights were trained on")
    axes.set_ylabel("gain of whole frames, dB")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(NOTES / "learning.png")


if __name__ == "__main__":
    main()
