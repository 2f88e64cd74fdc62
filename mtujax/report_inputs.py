"""Results on disk as the tables want them: scores and times of the same method joined.

Two kinds of JSON file are read. Both have `kind`, `version`, `device` and `method`:
`name`, `sha256` of the weights, `config` (the network's, with its dtype; null for
results made elsewhere) and `parameters`.

    mtujax evaluation: dataset {name, split, variant}, protocols {NAME: {psnr, ssim,
        frames, videos}}, motion {psnr, ssim} or null
    mtujax bench: size [W, H], step_ms {p50}
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from mtujax.config import ModelConfig
from mtujax.data.known import DVD_COUNTS, GOPRO_COUNTS
from mtujax.errors import UserError
from mtujax.mappings import from_dict
from mtujax.protocols import PROTOCOLS
from mtujax.published import table_of
from mtujax.report_methods import Method, method_of
from mtujax.tables import Measured

EVALUATION, BENCH = "mtujax evaluation", "mtujax bench"
"""Kinds of files."""

VERSION = 1
"""Of the files that can be read."""

SIZE = (1280, 720)
"""Width and height in pixels of the frames whose times the paper reports."""

_KNOWN = {"dvd": DVD_COUNTS["test"], "gopro": GOPRO_COUNTS["test"]}
_USUAL = {"gopro": "blur_gamma"}  # the kind of blur that the paper uses
_MILLION = 1e6


def read_measured(paths: Sequence[Path]) -> list[Measured]:
    """Reads results; times go to the scores of the same method and precision.

    Args:
        paths: files, or folders whose `.json` files are read.

    Returns:
        One entry for each method, dataset and protocol. A method that was only timed is
        entered for both datasets of the paper.

    Raises:
        UserError: if there are no files, or one cannot be read, is of another kind or
            version, or lacks a field.
    """
    evaluations, times = [], {}
    for path in _files(paths):
        data = _read(path)
        if data["kind"] == EVALUATION:
            evaluations.append(data)
        else:
            _, method = _method(data)
            times[method] = data
    found, scored = [], set()
    for data in evaluations:
        _, method = _method(data)
        found += _scores(data, times.get(method))
        scored.add(method)
    for method, data in times.items():
        if method not in scored:
            found += _times_alone(data)
    return found


class _Fields(dict):
    """A mapping of a file; a field that it lacks is an error that names the file."""

    def __init__(self, path, values, prefix=""):
        super().__init__(values)
        self.path, self.prefix = path, prefix

    def __missing__(self, name):
        raise UserError(f"{self.path}: lacks {self.prefix}{name}")

    def part(self, name):
        """The mapping that a field holds."""
        value = self[name]
        if not isinstance(value, dict):
            raise UserError(f"{self.path}: {self.prefix}{name} is no mapping")
        return _Fields(self.path, value, f"{self.prefix}{name}.")


def _files(paths):
    files = []
    for path in paths:
        inside = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not inside:
            raise UserError(f"{path}: no results; this folder has no .json file")
        files += inside
    if not files:
        raise UserError("no results: give files of eval.py or `mtujax bench`")
    return files


def _read(path):
    try:
        values = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    kind = values.get("kind") if isinstance(values, dict) else None
    if kind not in (EVALUATION, BENCH):
        raise UserError(f"{path}: not results of eval.py or `mtujax bench`")
    data = _Fields(path, values)
    if data["version"] != VERSION:
        raise UserError(
            f"{path}: results of version {data['version']}, this mtujax reads "
            f"version {VERSION}; measure again, or use the mtujax that wrote them"
        )
    return data


def _method(data) -> tuple[_Fields, Method]:
    about = data.part("method")
    config = about["config"]
    if config is not None:
        config = from_dict(config, ModelConfig, f"{data.path}: method.config.")
    return about, method_of(about["name"], config)


def _scores(data, timed):
    about, method = _method(data)
    motion = data.part("motion") if data["motion"] is not None else {}
    measured = []
    for protocol in data.part("protocols"):
        scores = data.part("protocols").part(protocol)
        extent = f"{scores['frames']} frames of {scores['videos']} videos."
        one = Measured(
            key=method.key,
            label=method.label,
            dataset=_dataset(data.part("dataset"), scores["frames"], protocol),
            protocol=protocol,
            psnr=_number(scores["psnr"]),
            ssim=_number(scores["ssim"]),
            parameters=_parameters(about),
            motion_psnr=_number(motion.get("psnr")),
            motion_ssim=_number(motion.get("ssim")),
            notes=(_origin(about, data), extent),
        )
        measured.append(_with_time(one, timed) if timed else one)
    return measured


def _dataset(about, frames, protocol):
    """Its name, with all in which it is not the paper's: split, blur, frames."""
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


def _times_alone(data):
    about, method = _method(data)
    for dataset in _KNOWN:
        one = Measured(
            key=method.key,
            label=method.label,
            dataset=dataset,
            protocol=table_of(dataset).protocol,
            parameters=_parameters(about),
            notes=(_origin(about, data),),
        )
        yield _with_time(one, data)


def _with_time(one, data):
    """A measured entry with its time, if it is of the paper's size of frames."""
    width, height = data["size"]
    where = f"{width}x{height} on {data['device']}"
    if (width, height) != SIZE:
        note = f"Timed at {where}: not entered, as times here are of 1280x720."
        return dataclasses.replace(one, notes=(*one.notes, note))
    return dataclasses.replace(
        one,
        milliseconds=_number(data.part("step_ms")["p50"]),
        notes=(*one.notes, f"Time: median step, {where}."),
    )


def _parameters(about):
    count = about["parameters"]
    return None if count is None else count / _MILLION


def _number(value):
    """A number, NaN for the text that stands for it in JSON, None for none."""
    return None if value is None else float(value)
