"""Results on disk as the tables need them: scores and times of a method, joined.

Two kinds of JSON file are read. Both have `kind`, `version`, `device` and `method`:
`name`, `sha256` of the weights, `config` (the network's, with its dtype; null for
results of other software) and `parameters`.

    mtujax evaluation: dataset {name, split, variant}, protocols {NAME: {psnr, ssim,
        frames, videos}}, motion {psnr, ssim} or null
    mtujax bench: size [W, H], batch, step_ms {p50}

The paper's times are of single frames of 1280x720; no others enter the tables.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mtujax.common.dataclass_json import from_dict
from mtujax.config import PRESETS, ModelConfig
from mtujax.data.datasets import DVD_COUNTS, GOPRO_COUNTS
from mtujax.errors import UserError
from mtujax.evaluation.results import BENCH, EVALUATION, VERSION
from mtujax.metrics.protocols import PROTOCOLS
from mtujax.report.files import Fields, damage_named, load, result_files
from mtujax.report.paper import TABLES, table_of
from mtujax.report.tables import ABLATIONS, Measured

SIZE = (1280, 720)
"""Width and height in pixels of the frames whose times the paper reports."""


@dataclasses.dataclass(frozen=True)
class Timing:
    """Content of a file of `mtujax bench`.

    Attributes:
        file: its name.
        device: on which the time was measured.
        size: (W, H) of the frames in pixels.
        batch: batch size.
        milliseconds: of a median step, for the whole batch.
        form: of the network, "plain" or "inference"; None if the file does not say.
    """

    file: str
    device: str
    size: tuple[int, int]
    batch: int
    milliseconds: float
    form: str | None = None

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


def read_timing(data: Fields) -> Timing:
    """Reads a file of `mtujax bench`; a file without a batch size is of single frames.

    UserError if a field is missing, ValueError or TypeError if one has a wrong type.
    """
    width, height = data["size"]
    batch = data.count("batch") if "batch" in data else 1
    milliseconds = data.part("step_ms").number("p50")
    if milliseconds is None:
        raise ValueError("step_ms.p50 null: must be a number")
    return Timing(
        file=data.path.name,
        device=data["device"],
        size=(int(width), int(height)),
        batch=batch,
        milliseconds=milliseconds,
        form=data.get("form"),
    )


def with_time(one: Measured, timings: Sequence[Timing]) -> Measured:
    """Enters the first time that fits, and notes all times with their files."""
    entered = next((timing for timing in timings if timing.fits), None)
    notes = []
    if entered:
        notes.append(f"Time: median step, {entered}.")
    for other in timings:
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


class Method(NamedTuple):
    """A method in tables.

    Attributes:
        key: as `report.paper.Reported.key` if the paper has the method.
        label: its name in tables.
    """

    key: str
    label: str


def method_of(name: str, config: ModelConfig | None) -> Method:
    """Finds the paper's method of a network; by name alone if `config` is None.

    A file named after a configuration of Tables 1 and 2 (`table1_row2`) is that
    variant, as its layers alone do not show with which losses it was trained. Otherwise
    a network with the layers of a preset is that preset, in half precision the paper's
    MTU2-hp. Anything else is a method of its own.
    """
    if name in ABLATIONS:
        return Method(name, name)
    if config is None:
        key = name.lower().replace("-", "_")
        return Method(key, _LABELS.get(key, name))
    preset = _preset(config)
    if preset is None:
        return Method(name, name)
    if config.dtype not in _HALF:
        return Method(preset, _LABELS.get(preset, preset))
    if preset == "mtu2":
        return Method("mtu2_hp", _LABELS["mtu2_hp"])
    return Method(f"{preset}_hp", f"{_LABELS.get(preset, preset)} {config.dtype}")


def _preset(config):
    """The preset with these layers in any precision, or None."""
    config = dataclasses.replace(config, dtype="float32")
    return next((name for name, one in PRESETS.items() if one == config), None)


def told_apart(found: Sequence[tuple[tuple, Measured]]) -> list[Measured]:
    """Relabels networks that share a method, dataset and protocol by their weights.

    Each entry comes with name, precision and sha256 of its weights; the label has as
    many of these as needed.
    """
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
    """The shortest part of name, precision and sha256 that is unique in the group."""
    for count in (1, 2, 3):
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
    """Reads results from files or folders; times join the scores of their weights.

    Times of drawn weights join all scores of their method in the same precision.
    Gives an entry per method, dataset and protocol; a method that has only times has
    one per dataset of the paper. UserError for a file that is missing, damaged, or of
    another kind or version.
    """
    evaluations, times = [], {}
    for path in result_files(paths):
        data = _read(path)
        with damage_named(path):
            method = _method(data)
            if data["kind"] == EVALUATION:
                evaluations.append((data, method))
            else:
                given = times.setdefault((method, *_weights(data)[1:]), [])
                given.append((data, read_timing(data)))
    found, scored = [], set()
    for data, method in evaluations:
        with damage_named(data.path):
            _, dtype, sha256 = _weights(data)
        keys = dict.fromkeys([(method, dtype, sha256), (method, dtype, None)])
        timings = [timing for key in keys for _, timing in times.get(key, ())]
        with damage_named(data.path):
            found += [
                (_weights(data), with_time(one, timings))
                for one in _scores(data, method)
            ]
        scored.update(keys)
    for key, given in times.items():
        if key not in scored:
            found += _times_alone(key[0], given)
    return told_apart(found)


def _read(path):
    data = load(path)
    if data is None or data.get("kind") not in (EVALUATION, BENCH):
        raise UserError(f"{path}: not results of eval.py or `mtujax bench`")
    if data["version"] != VERSION:
        raise UserError(
            f"{path}: results of version {data['version']}, this mtujax reads "
            f"version {VERSION}; measure again, or use the mtujax that wrote them"
        )
    return data


def _method(data: Fields) -> Method:
    about = data.part("method")
    config = about["config"]
    if config is not None:
        config = from_dict(config, ModelConfig, "method.config.")
    return method_of(about["name"], config)


def _weights(data):
    """Name, precision and sha256, which distinguish measurements of one method."""
    about = data.part("method")
    dtype = about["config"] and about["config"].get("dtype", ModelConfig.dtype)
    return about["name"], dtype, about["sha256"] and about["sha256"][:8]


def _scores(data, method):
    about, protocols = data.part("method"), data.part("protocols")
    motion = data.part("motion") if data["motion"] is not None else None
    # Older files have NaN, not null, for a mean of no pairs.
    if motion and "pairs" in motion and motion["pairs"] <= motion["undefined"]:
        motion = None
    for protocol in protocols:
        scores = protocols.part(protocol)
        frames, videos = scores.count("frames"), scores.count("videos")
        extent = f"{frames} frames of {videos} videos."
        yield Measured(
            key=method.key,
            label=method.label,
            dataset=_dataset(data.part("dataset"), frames, protocol),
            protocol=protocol,
            psnr=scores.number("psnr") if frames else None,
            ssim=scores.number("ssim") if frames else None,
            parameters=_parameters(about),
            motion_psnr=motion.number("psnr") if motion else None,
            motion_ssim=motion.number("ssim") if motion else None,
            notes=(_origin(about, data), extent if frames else "No frame counts."),
        )


def _dataset(about, frames, protocol):
    """Its name, with what differs from the paper: split, blur, frames."""
    name, split, variant = about["name"], about["split"], about["variant"]
    words = [name]
    if split != "test":
        words.append(split)
    if variant and variant != _USUAL.get(name):
        words.append(variant)
    if len(words) == 1 and name in _KNOWN and protocol in PROTOCOLS:
        lengths = _KNOWN[name].lengths.values()
        whole = sum(len(PROTOCOLS[protocol].frames(n)) for n in lengths)
        if frames != whole:
            words.append(f"({frames} frames, the whole set has {whole})")
    return " ".join(words)


def _origin(about, data):
    words = [about["name"]]
    if about["sha256"]:
        words.append(f"(sha256 {about['sha256'][:12]})")
    config = about["config"]
    if config is not None:
        words.append(f"in {config.get('dtype', ModelConfig.dtype)}")
    return f"{' '.join(words)} on {data['device']}."


def _times_alone(method, given):
    """Entries of a method that has times and no scores."""
    timings = [timing for _, timing in given]
    data = given[0][0]
    about = data.part("method")
    for dataset in _KNOWN:
        with damage_named(data.path):
            one = Measured(
                key=method.key,
                label=method.label,
                dataset=dataset,
                protocol=table_of(dataset).protocol,
                parameters=_parameters(about),
                notes=(_origin(about, data),),
            )
            yield _weights(data), with_time(one, timings)


def _parameters(about):
    count = about.number("parameters")
    return None if count is None else count / _MILLION
