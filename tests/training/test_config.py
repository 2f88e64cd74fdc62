"""A run's settings: from files and back, with the nearest name where one is wrong."""

import dataclasses
import json

import pytest

from mtujax.common.dataclass_json import field_types, from_dict, to_dict
from mtujax.config import PRESETS, ModelConfig
from mtujax.errors import UsageError
from mtujax.training.config import (
    RELEASE,
    RENAMED,
    DataConfig,
    RunConfig,
    TrainConfig,
    fixed_fields,
)

RUN = RunConfig(PRESETS["mtu2"], TrainConfig(steps=10))


@pytest.mark.parametrize(
    "config",
    [
        RUN,
        RunConfig(
            ModelConfig(num_units=3, matching_units=(0, 2), initial_features="zero"),
            RELEASE,
            DataConfig("gopro", variant="blur", objects=None),
            max_minutes=2.5,
        ),
    ],
)
def test_settings_survive_json(config):
    assert from_dict(json.loads(json.dumps(to_dict(config))), RunConfig) == config


def changed(path, value):
    values = to_dict(RUN)
    *parents, last = path.split(".")
    inner = values
    for name in parents:
        inner = inner[name]
    inner[last] = value
    return values


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("modle", {}, "modle: no such field; did you mean model?"),
        ("train.learning_rat", 1.0, "train.learning_rat: .* learning_rate?"),
        ("data.shake.sped", [1, 2], "data.shake.sped: .* speed?"),
        ("train.steps", "many", "train.steps 'many': must be int"),
        ("train.steps", True, "train.steps True: must be int"),
        ("data.crop", 2.5, "data.crop 2.5: must be int"),
        ("data.crop", 30, "data.crop 30: must be a multiple of 4"),
        ("max_minutes", float("nan"), "max_minutes nan: must be 0 or more"),
        ("data.variant", 3, "data.variant 3: must be str or None"),
        ("train.scheme", "papr", "train.scheme 'papr'"),
        ("data.name", "gpro", "data.name 'gpro': did you mean gopro?"),
        ("data.motion", "optical", "data.motion 'optical': there are auto, kept"),
        ("validation.size", [250, 256], "validation.size .* multiple of 4"),
        ("model.num_units", 0, "model: num_units=0: must be >= 1"),
        ("batch", 0, "batch 0: must be 1 or more"),
        ("log_every", 0, "log_every 0"),
        ("run", "", "run is empty: name a folder"),
        ("seed", 2**32, r"seed 4294967296: must be below 2\*\*32"),
        ("keep_every", 0, "keep_every 0: must be 1 or more"),
        ("max_minutes", -1.0, "max_minutes -1.0: must be 0 or more"),
        ("data.threads", 0, "data.threads 0: must be 1 or more"),
        ("data.noise", -0.1, "data.noise -0.1: must be 0 or more"),
        (
            "data.shake.speed",
            [3.0],
            r"data.shake.speed \[3.0\]: must be \(float, float",
        ),
        ("data.shake.speed", ["a", 3], r"must be \(float, float\)"),
        (
            "data.augment_probability",
            1.5,
            "data.augment_probability 1.5: is a probability, from 0 to 1",
        ),
        (
            "data.augment_probability",
            -0.5,
            "data.augment_probability -0.5: is a probability",
        ),
        ("data.exposure.sharp", 2.0, "data.exposure.sharp 2.0: is a probability"),
        ("data.exposure.compressed", -1.0, "data.exposure.compressed -1.0: is a prob"),
        ("data.shake.speed", [9, 3], r"data.shake.speed \(9.0, 3.0\): is a range"),
        (
            "data.objects.count",
            [0.5, 3],
            r"data.objects.count .*: must be \(int, int\)",
        ),
        ("validation.every", -1, "validation.every -1: must be 0 or more"),
        ("train.warmup", -1, "warmup -1: must be 0 or more"),
        ("train.drops", [1000, 0.5], r"train.drops .*: must be several \(int, float\)"),
        ("model.dtype", "half", "model.dtype 'half': must be 'float32' or 'bfloat16'"),
    ],
)
def test_a_wrong_setting_is_named_with_what_would_be_right(path, value, message):
    with pytest.raises(UsageError, match=message):
        from_dict(changed(path, value), RunConfig)


@pytest.mark.parametrize("old, new", RENAMED.items())
def test_a_field_of_before_is_refused_by_its_new_name(old, new):
    values, part = to_dict(RUN), old.rpartition(".")[0]
    (values[part] if part else values)[old.rpartition(".")[2]] = 1
    with pytest.raises(UsageError, match=f"^{old}: is called {new} now$"):
        from_dict(values, RunConfig, renamed=RENAMED)
    assert new in field_types(RunConfig) and old not in field_types(RunConfig)


def test_what_must_be_given_is_named():
    values = to_dict(RUN)
    del values["model"]
    with pytest.raises(UsageError, match="model: is not given"):
        from_dict(values, RunConfig)


def test_whole_numbers_are_taken_for_fractions():
    config = from_dict(changed("train.learning_rate", 1), RunConfig)
    assert config.train.learning_rate == 1.0
    assert isinstance(config.train.learning_rate, float)


def test_what_is_only_watched_may_change_and_the_rest_may_not():
    watched = dataclasses.replace(
        RUN,
        run="elsewhere",
        max_minutes=1.0,
        data=dataclasses.replace(RUN.data, path="there", threads=4),
        validation=dataclasses.replace(RUN.validation, every=7),
        train=dataclasses.replace(RUN.train, steps=20),
    )
    assert fixed_fields(watched) == fixed_fields(RUN)
    for other in (
        dataclasses.replace(RUN, batch=4),
        dataclasses.replace(RUN, data=dataclasses.replace(RUN.data, crop=64)),
        dataclasses.replace(RUN, train=dataclasses.replace(RUN.train, warmup=3)),
    ):
        assert fixed_fields(other) != fixed_fields(RUN)
