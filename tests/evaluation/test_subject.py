"""What is evaluated: weights under their names, and what identifies them."""

import dataclasses
import hashlib

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from networks import SMALLEST
from sharing import CONFIGS, MODEL
from states import like

from mtujax.common.dataclass_json import to_dict
from mtujax.errors import UserError
from mtujax.evaluation.subject import open_subject
from mtujax.model.network import inference_params, init_params
from mtujax.training.checkpoints import Checkpoints
from mtujax.training.config import RunConfig
from mtujax.training.run_folder import RunFolder


def test_a_file_is_known_by_its_bytes_and_its_name(weights_file, tiny):
    found = open_subject(weights_file)
    assert found.method.name == "tiny"
    assert found.method.sha256 == hashlib.sha256(weights_file.read_bytes()).hexdigest()
    assert found.method.parameters == sum(x.size for x in jax.tree.leaves(tiny[1]))
    assert found.method.config == found.model.config == SMALLEST


def test_bundled_weights_are_known_by_their_name():
    found = open_subject("fast", name="ours")
    assert (found.method.name, found.method.parameters) == ("ours", 824_802)
    assert open_subject("fast").method.name == "fast"


def test_a_bundled_name_means_that_whatever_lies_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fast").mkdir()
    assert open_subject("fast").method.parameters == 824_802


def test_a_run_gives_the_moving_average_of_its_latest_checkpoint(tmp_path):
    folder = tmp_path / "my run"
    folder.mkdir()
    config = RunConfig(MODEL.config, CONFIGS["release"])
    RunFolder(str(folder)).write_config(to_dict(config))
    draw = np.random.default_rng(0).normal
    state = jax.tree.map(lambda x: draw(size=x.shape).astype(x.dtype), like())
    state = state.replace(step=np.int32(3), skipped=np.int32(0))
    with Checkpoints(str(folder / "checkpoints")) as checkpoints:
        checkpoints.save(3, state, {"batches": 3})
    found = open_subject(f"{folder}/")
    assert found.method.name == "my run" and found.model.config == MODEL.config
    wanted = flatten_dict(inference_params(state.ema), sep="/")
    given = flatten_dict(found.params, sep="/")
    assert given.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_array_equal(given[name], wanted[name])
    data = b"".join(np.asarray(wanted[name]).tobytes() for name in sorted(wanted))
    assert found.method.sha256 == hashlib.sha256(data).hexdigest()


def test_the_precision_is_the_given_one_else_the_configurations():
    params = init_params(MODEL, jax.random.key(0))
    half = dataclasses.replace(MODEL.config, dtype="bfloat16")
    weights = MODEL, params
    given = {
        "float32": open_subject(weights),
        "bfloat16": open_subject(weights, config=half),
        "float16": open_subject(weights, config=half, dtype="float16"),
    }
    for dtype, found in given.items():
        assert found.model.config.dtype == found.method.config.dtype == dtype
        assert found.method.sha256 == given["float32"].method.sha256


def test_weights_of_another_network_are_refused_with_what_differs(weights_file):
    with pytest.raises(UserError, match="tiny.*: num_units: 1 there, 2 here"):
        open_subject(weights_file, config=MODEL.config)


def test_results_are_known_by_their_folder(tmp_path):
    method = open_subject(results=tmp_path / "DSTNet" / ".").method
    assert dataclasses.astuple(method) == ("DSTNet", None, None, None)
