"""Results on disk as the tables need them: scores and times of a method, joined.

Read are files of `evaluation.results` and of `bench.run`. The paper's times are of
single frames of 1280x720; no others enter the tables.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mtujax.common.dataclass_json import from_dict
from mtujax.config import PRESETS, ModelConfig
from mtujax.data.datasets import DVD_COUNTS, GOPRO_COUNTS
from mtujax.errors import UserError
from mtujax.evaluation.results import (
    BENCH,
    EVALUATION,
    RESULTS,
    SETTINGS,
    Evaluation,
    Method,
    Scored,
    evaluation_of,
    read_file,
)
from mtujax.metrics.protocols import PROTOCOLS
from mtujax.report.paper import TABLES, table_of
from mtujax.report.tables import ABLATIONS, Measured

SIZE = (1280, 720)
"""Width and height in pixels of the frames whose times the paper reports."""


@dataclasses.dataclass(frozen=True)
class Timing:
    """The time of a network's step."""

    method: Method  # the network
    device: str  # on which the time was measured
    size: tuple[int, int]  # (W, H) of the frames in pixels
    batch: int  # batch size
    milliseconds: float  # of a median step, for the whole batch
    form: str | None = None  # "plain" or "inference"; None if unknown
    file: str = ""  # name of its file

    @property
    def fits(self) -> bool:
        """Whether the time can be compared with the paper's."""
        return self.size == SIZE and self.batch == 1

    def __str__(self):
        """Describes the measurement, as in notes of tables."""
        width, height = self.size
        frames = f", {self.batch} frames at once" if self.batch != 1 else ""
        form = f", {self.form} form" if self.form else ""
        return f"{width}x{height}{frames} on {self.device}{form} ({self.file})"


def timing_of(values: dict) -> Timing:
    """Reads a timing from the JSON values of its file."""
    given = {name: values[name] for name in ("method", "device", "size")}
    given |= {"batch": values.get("batch", 1), "form": values.get("form")}
    return from_dict({**given, "milliseconds": values["step_ms"]["p50"]}, Timing)


def _inside(path):
    """Files of results: the path itself, those of a folder, that of an evaluation's."""
    if not path.is_dir():
        return [path]
    results, settings = path / RESULTS, path / SETTINGS
    if settings.is_file():
        if results.is_file():
            return [results]
        raise UserError(
            f"{path}: this evaluation is not finished; the same eval.py resumes it"
        )
    found = [*sorted(path.glob("*.json")), *sorted(path.glob(f"*/{RESULTS}"))]
    if not found:
        raise UserError(
            f"{path}: no results; there is neither a .json file in this folder nor an "
            "evaluation's folder"
        )
    return found


def with_time(one: Measured, times: Sequence[Timing]) -> Measured:
    """Enters the first time that fits, and notes all times with their files."""
    entered = next((timed for timed in times if timed.fits), None)
    notes = []
    if entered:
        notes.append(f"Time: median step, {entered}.")
    for other in times:
        if other is entered:
            continue
        why = (
            f"as {entered.file} comes first"
            if other.fits
            else "as times here are of single frames of 1280x720"
        )
        notes.append(f"Timed at {other}: not entered, {why}.")
    return dataclasses.replace(
        one,
        milliseconds=entered and entered.milliseconds,
        notes=(*one.notes, *notes),
    )


_LABELS = {row.key: row.label for n in (3, 4) for row in TABLES[n].rows}
_HALF = ("float16", "bfloat16")


class TableMethod(NamedTuple):
    """A method in tables."""

    key: str  # as `report.paper.Reported.key` if the paper has the method
    label: str  # in tables


def method_of(name: str, config: ModelConfig | None) -> TableMethod:
    """Finds the paper's method of a network; by name alone if `config` is None."""
    # A file named after a configuration of Tables 1 and 2 (`table1_row2`) is that
    # variant, as its layers alone do not show with which losses it was trained.
    # Otherwise a network with the layers of a preset is that preset, in half precision
    # the paper's MTU2-hp. Anything else is a method of its own.
    if name in ABLATIONS:
        return TableMethod(name, name)
    if config is None:
        key = name.lower().replace("-", "_")
        return TableMethod(key, _LABELS.get(key, name))
    layers = dataclasses.replace(config, dtype="float32")
    preset = next((key for key, one in PRESETS.items() if one == layers), None)
    if preset is None:
        return TableMethod(name, name)
    if config.dtype not in _HALF:
        return TableMethod(preset, _LABELS.get(preset, preset))
    if preset == "mtu2":
        return TableMethod("mtu2_hp", _LABELS["mtu2_hp"])
    return TableMethod(f"{preset}_hp", f"{_LABELS.get(preset, preset)} {config.dtype}")


def distinctly_labelled(found: Sequence[tuple[tuple, Measured]]) -> list[Measured]:
    """Relabels what shares method, dataset and protocol by what differs."""
    # That is the name, precision or sha256 of the weights, or where the results are.
    groups = {}
    for weights, one in found:
        place = one.key, one.dataset, one.protocol
        groups.setdefault(place, set()).add(weights)
    labelled = []
    for weights, one in found:
        group = groups[one.key, one.dataset, one.protocol]
        if len(group) > 1:
            one = dataclasses.replace(one, label=_label(weights, group))
        labelled.append(one)
    return labelled


def _label(weights, group):
    """The fewest of name, precision, sha256 and place that are unique in the group."""
    for count in (1, 2, 3, 4):
        others = [other for other in group if other[:count] == weights[:count]]
        if len(others) == 1:
            break
    name, *more = weights[:count]
    more = ", ".join(filter(None, more))
    return f"{name} ({more})" if more else name


_KNOWN = {"dvd": DVD_COUNTS["test"], "gopro": GOPRO_COUNTS["test"]}
_USUAL = {"gopro": "blur_gamma"}  # the kind of blur that the paper uses
_MILLION = 1e6


def read_measured(paths: Sequence[Path]) -> list[Measured]:
    """Reads results from files or folders; times join the scores of their weights."""
    # Times of drawn weights join all scores of their method in the same precision.
    # Gives an entry per method, dataset and protocol; a method that has only times has
    # one per dataset of the paper. Datasets of one name that hold other frames are
    # distinguished by where their first results are. UserError for a file that is
    # missing, damaged, or of another kind or version.
    files = dict.fromkeys(file for path in paths for file in _inside(path))
    if not files:
        raise UserError("no results: give files of eval.py or `mtujax bench`")
    evaluations, times = [], {}
    for path, place in _places(files).items():
        found = read_file(path, {EVALUATION: evaluation_of, BENCH: timing_of})
        method = method_of(found.method.name, found.method.config)
        if isinstance(found, Evaluation):
            evaluations.append((found, method, place))
        else:
            key = method, *_weights(found.method)[1:]
            times.setdefault(key, []).append(dataclasses.replace(found, file=path.name))
    measured, scored = [], set()
    sets = _distinct_sets([(found, place) for found, _, place in evaluations])
    for found, method, place in evaluations:
        _, dtype, sha256 = _weights(found.method)
        keys = dict.fromkeys([(method, dtype, sha256), (method, dtype, None)])
        timed = [one for key in keys for one in times.get(key, ())]
        measured += [
            ((*_weights(found.method), place), with_time(one, timed))
            for one in _scores(found, method, sets[place])
        ]
        scored.update(keys)
    for key, timed in times.items():
        if key not in scored:
            measured += _times_alone(key[0], timed)
    return distinctly_labelled(measured)


def _weights(about: Method):
    """Name, precision and sha256, which distinguish measurements of one method."""
    dtype = about.config and about.config.dtype
    return about.name, dtype, about.sha256 and about.sha256[:8]


def _places(files):
    """Where each file is, for readers: its name or its folder's, or else its path."""
    names = {
        path: path.absolute().parent.name if path.name == RESULTS else path.stem
        for path in files
    }
    taken = list(names.values())
    return {
        path: name if taken.count(name) == 1 else str(path)
        for path, name in names.items()
    }


def _distinct_sets(evaluations):
    """{place: what distinguishes its dataset from others of its name, or ""}."""
    groups, first = {}, {}
    for found, place in evaluations:
        about = found.dataset
        group = groups.setdefault((about.name, about.split, about.variant), {})
        alike = (there for there, one in group.items() if _on_same_frames(one, found))
        first[place] = next(alike, place)
        group.setdefault(first[place], found)
    several = {place for group in groups.values() if len(group) > 1 for place in group}
    return {
        place: f" (as in {there})" if there in several else ""
        for place, there in first.items()
    }


_SAME = 0.02  # dB between the blurry frames of one set, which devices round otherwise


def _on_same_frames(one: Evaluation, other: Evaluation):
    """Whether the videos are the same, and the scores of their blurry frames."""
    pairs = [
        [found.protocols[name].blurry_mean for found in (one, other)]
        for name in one.protocols.keys() & other.protocols.keys()
    ]
    return one.dataset.videos == other.dataset.videos and all(
        abs(mine - theirs) < _SAME
        for mine, theirs in pairs
        if None not in (mine, theirs)
    )


def _scores(found: Evaluation, method, difference):
    motion = found.motion_total.summary if found.motion is not None else {}
    origin = _origin(found.method, found.machine.get("device"))
    for protocol, scores in found.protocols.items():
        frames, (psnr, ssim) = scores.total.frames, scores.means
        extent = f"{frames} frames of {scores.videos} videos."
        yield Measured(
            key=method.key,
            label=method.label,
            dataset=_dataset(found.dataset, frames, protocol) + difference,
            protocol=protocol,
            psnr=psnr if frames else None,
            ssim=ssim if frames else None,
            parameters=_millions(found.method.parameters),
            motion_psnr=motion.get("psnr"),
            motion_ssim=motion.get("ssim"),
            notes=(origin, extent if frames else "No frame counts."),
        )


def _dataset(about: Scored, frames, protocol):
    """Its name, with what differs from the paper: split, blur, frames."""
    name = about.name
    words = [name]
    if about.split != "test":
        words.append(about.split)
    if about.variant and about.variant != _USUAL.get(name):
        words.append(about.variant)
    if len(words) == 1 and name in _KNOWN and protocol in PROTOCOLS:
        lengths = _KNOWN[name].lengths.values()
        whole = sum(len(PROTOCOLS[protocol].frames(n)) for n in lengths)
        if frames != whole:
            words.append(f"({frames} frames, the whole set has {whole})")
    return " ".join(words)


def _origin(about: Method, device):
    words = [about.name]
    if about.sha256:
        words.append(f"(sha256 {about.sha256[:12]})")
    if about.config is not None:
        words.append(f"in {about.config.dtype}")
    return f"{' '.join(words)} on {device}."


def _times_alone(method, times):
    """Entries of a method that has times and no scores."""
    first = times[0]
    for dataset in _KNOWN:
        one = Measured(
            key=method.key,
            label=method.label,
            dataset=dataset,
            protocol=table_of(dataset).protocol,
            parameters=_millions(first.method.parameters),
            notes=(_origin(first.method, first.device),),
        )
        yield _weights(first.method), with_time(one, times)


def _millions(count):
    return None if count is None else count / _MILLION
