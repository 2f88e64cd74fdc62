"""Results on disk as the tables want them: scores and times of the same method joined.

Two kinds of JSON file are read. Both have `kind`, `version`, `device` and `method`:
`name`, `sha256` of the weights, `config` (the network's, with its dtype; null for
results made elsewhere) and `parameters`.

    mtujax evaluation: dataset {name, split, variant}, protocols {NAME: {psnr, ssim,
        frames, videos}}, motion {psnr, ssim} or null
    mtujax bench: size [W, H], batch, step_ms {p50}
"""

from collections.abc import Sequence
from pathlib import Path

from mtujax.config import ModelConfig
from mtujax.data.known import DVD_COUNTS, GOPRO_COUNTS
from mtujax.errors import UserError
from mtujax.mappings import from_dict
from mtujax.protocols import PROTOCOLS
from mtujax.published import table_of
from mtujax.report_files import Fields, damage_named, load, result_files
from mtujax.report_methods import Method, method_of, told_apart
from mtujax.report_times import read_timing, with_time
from mtujax.tables import Measured

EVALUATION, BENCH = "mtujax evaluation", "mtujax bench"
"""Kinds of files."""

VERSION = 1
"""Of the files that can be read."""

_KNOWN = {"dvd": DVD_COUNTS["test"], "gopro": GOPRO_COUNTS["test"]}
_USUAL = {"gopro": "blur_gamma"}  # the kind of blur that the paper uses
_MILLION = 1e6


def read_measured(paths: Sequence[Path]) -> list[Measured]:
    """Reads results; times go to the scores of the same method and precision.

    Args:
        paths: files, folders of evaluations, or folders of both.

    Returns:
        One entry for each method, dataset and protocol. A method that was only timed is
        entered for both datasets of the paper.

    Raises:
        UserError: if there are no files, or one cannot be read, is of another kind or
            version, is damaged or lacks a field.
    """
    evaluations, times = [], {}
    for path in result_files(paths):
        data = _read(path)
        with damage_named(path):
            method = _method(data)
            if data["kind"] == EVALUATION:
                evaluations.append((data, method))
            else:
                given = times.setdefault(method, [])
                given.append((data, read_timing(data)))
    found, scored = [], set()
    for data, method in evaluations:
        timings = [timing for _, timing in times.get(method, ())]
        with damage_named(data.path):
            found += [
                (_weights(data), with_time(one, timings))
                for one in _scores(data, method)
            ]
        scored.add(method)
    for method, given in times.items():
        if method not in scored:
            found += _times_alone(method, given)
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
    """What tells measurements of one method apart."""
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


def _times_alone(method, given):
    """Entries of a method that was timed and not scored."""
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
