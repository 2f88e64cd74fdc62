"""Whole runs of a tiny network: stopped, gone on with, and refused."""

import csv
import dataclasses
import json
import pathlib
import re
import signal

import jax
import numpy as np
import pytest
import sets
from motions import panned
from networks import SMALLEST
from sharing import tracings

from mtujax.common.dataclass_json import to_dict
from mtujax.common.interrupts import Interrupted
from mtujax.errors import UserError
from mtujax.model.network import MTUNet, inference_params
from mtujax.training import logbook, loop, run as runs
from mtujax.training.config import DataConfig, RunConfig, TrainConfig, ValidationConfig
from mtujax.training.loop import Loop
from mtujax.training.optimizers import init_train_state
from mtujax.training.run import first_params
from mtujax.training.run_folder import state_like
from mtujax.training.state_files import write_state
from mtujax.training.step import make_step
from mtujax.weights.files import save_weights

pytest.importorskip("grain")
pytest.importorskip("orbax.checkpoint")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name, photo in zip("abc", panned([(0, 0)] * 3, (64, 80), rng), strict=True):
        sets.write(folder / f"{name}.png", photo)
    return folder


@pytest.fixture
def config(photos, tmp_path):
    return RunConfig(
        SMALLEST,
        TrainConfig(steps=6, learning_rate=1e-3, schedule="drops", warmup=2),
        DataConfig(path=str(photos), frames=2, crop=16, made_on="host"),
        ValidationConfig(path=str(photos), clips=1, frames=2, size=(16, 16), every=4),
        run=str(tmp_path / "run"),
        batch=2,
        log_every=2,
        tensorboard=False,
    )


def of(config, **changes):
    """A config with changes, "train.steps" as train_steps."""
    for name, value in changes.items():
        part, _, field = name.partition("_")
        if part in ("train", "data", "validation") and field:
            inner = dataclasses.replace(getattr(config, part), **{field: value})
            config = dataclasses.replace(config, **{part: inner})
        else:
            config = dataclasses.replace(config, **{name: value})
    return config


@pytest.fixture
def stop_after(monkeypatch):
    """Ends the next runs after so many updates, as if their time was over."""

    def stop(updates):
        original = Loop._update

        def counted(self, state, batch):
            state, terms = original(self, state, batch)
            self.stop_now = self.position(state) >= updates
            return state, terms

        monkeypatch.setattr(Loop, "_update", counted)
        monkeypatch.setattr(Loop, "_stops", lambda self, *_: self.stop_now)

    return stop


def final_state(config):
    with runs.open_checkpoints(config) as checkpoints:
        return checkpoints.restore(state_like(config))


def assert_same(one, other, atol=0.0):
    one, other = (jax.tree.leaves(r.state) for r in (one, other))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=0, atol=atol)


@pytest.mark.slow
def test_a_run_that_goes_on_ends_as_one_that_never_stopped(
    config, tmp_path, capsys, stop_after, monkeypatch
):
    whole = of(config, run=str(tmp_path / "whole"))
    with monkeypatch.context() as patch:
        traced = tracings(patch.setattr)
        done = runs.train(whole)
    assert len(traced) == 1  # not again for a state that comes back from all devices
    assert (done.updates, done.skipped, done.complete) == (6, 0, True)
    assert done.psnr > 0 and done.blurry > 0
    with monkeypatch.context():
        stop_after(3)
        first = runs.train(config)
    assert (first.updates, first.complete) == (3, False)
    monkeypatch.undo()
    runs.train(config)
    assert_same(final_state(config), final_state(whole))
    assert "resuming from update 3" in capsys.readouterr().out
    # What is finished is not begun again.
    assert runs.train(config).updates == 6
    said = capsys.readouterr().out
    assert "all 6 updates are done" in said and "going on" not in said
    with open(tmp_path / "run" / "log.csv") as file:
        rows = list(csv.DictReader(file))
    steps = [int(row["step"]) for row in rows]
    assert steps == sorted(set(steps)) and steps[-1] == 6
    for name in rows[0]:  # is described where it is written
        name = re.sub("(grad_norm|learning_rate)_.*", r"\1_NAME", name)
        assert name in logbook.__doc__


@pytest.mark.slow
def test_a_run_goes_on_with_fewer_devices(config, tmp_path, monkeypatch, stop_after):
    assert jax.device_count() == 2
    whole = of(config, run=str(tmp_path / "whole"))
    runs.train(whole)
    stop_after(3)
    runs.train(config)
    monkeypatch.undo()
    make_step.cache_clear()
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    runs.train(config)
    assert_same(final_state(config), final_state(whole), atol=1e-6)
    make_step.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_signal_saves_and_says_how_to_go_on(config, monkeypatch, number, status):
    update = Loop._update

    def signalled(self, state, batch):
        if self.position(state) == 1:
            signal.raise_signal(number)
        return update(self, state, batch)

    monkeypatch.setattr(Loop, "_update", signalled)
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match="update 2 of 6 is saved.*: go on!") as caught:
        runs.train(config, command="go on!")
    assert caught.value.status == status
    assert signal.getsignal(number) == before
    assert final_state(config).step == 2


def test_a_run_stops_when_its_time_is_over(config):
    done = runs.train(of(config, max_minutes=0.0))
    assert (done.updates, done.complete) == (1, False)
    assert final_state(config).extra["batches"] == 1


@pytest.mark.slow
def test_the_log_counts_to_the_last_update_of_whole_clips(config, capsys):
    changes = {"train_steps": 3, "train_frames_per_update": 1, "validation_every": 0}
    assert runs.train(of(config, **changes)).updates == 4
    out = capsys.readouterr().out
    assert "update 4/4: " in out and "/3: " not in out


def test_updates_that_are_not_finite_end_a_run_and_name_their_records(
    config, monkeypatch
):
    update = Loop._update

    def poisoned(self, state, batch):
        params = jax.tree.map(lambda x: x * np.nan, state.params)
        return update(self, state.replace(params=params), batch)

    monkeypatch.setattr(Loop, "_update", poisoned)
    with pytest.raises(UserError, match=r"not finite in 4 updates in a row.*\.png"):
        runs.train(of(config, max_skipped_updates=4))


def test_another_configuration_is_refused_with_the_fields_that_differ(
    config, stop_after
):
    stop_after(1)
    runs.train(config)
    with pytest.raises(UserError, match="another configuration.*crop.*learning_rate"):
        runs.train(of(config, train_learning_rate=2e-3, data_crop=32))
    # The checkpoint knows as well, should the folder's own file be gone.
    file = pathlib.Path(config.run, "config.json")
    kept = file.read_text()
    file.unlink()
    with pytest.raises(UserError, match="another configuration: train.learning_rate"):
        runs.train(of(config, train_learning_rate=2e-3))
    assert not file.exists()
    file.write_text(kept)
    other = dataclasses.replace(config.model, search_radius=2)
    with pytest.raises(UserError, match="search_radius.*; choose another run=$"):
        runs.train(of(config, model=other))
    form = dataclasses.replace(config.model, patch=2, activation="leaky")
    with pytest.raises(UserError, match=r"model.activation: .*model.patch: 1 there, 2"):
        runs.train(of(config, model=form))
    # What a network starts from does not matter once it has begun.
    stop_after(2)
    assert runs.train(of(config, init_from="nowhere")).updates == 2


def run_out_of_memory(config, monkeypatch):
    def full(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(loop, "make_step", lambda *_: full)
        with pytest.raises(UserError, match="a smaller batch.*or train.remat=True"):
            runs.train(config)


def test_what_ran_out_of_memory_says_what_takes_less(config, monkeypatch):
    run_out_of_memory(config, monkeypatch)


@pytest.mark.slow
def test_what_ran_out_of_memory_goes_on_with_less(config, monkeypatch):
    run_out_of_memory(config, monkeypatch)
    smaller = of(config, train_remat=True, batch=4, data_crop=32, max_minutes=0.0)
    assert runs.train(smaller).updates == 1
    assert runs.train(of(smaller, train_remat=False)).updates == 2


def test_a_run_of_a_newer_version_is_named(config, stop_after):
    stop_after(1)
    runs.train(config)
    file = pathlib.Path(config.run, "config.json")
    kept = json.loads(file.read_text())
    file.write_text(json.dumps(kept | {"novel": 1}))
    with pytest.raises(UserError, match=r"config.json: novel: .*mtujax that wrote it$"):
        runs.train(config)


def test_a_run_starts_from_the_weights_of_another(config, tmp_path, stop_after):
    stop_after(1)
    runs.train(config)
    other = of(config, run=str(tmp_path / "other"), init_from=config.run, seed=5)
    runs.train(other)
    fresh = of(config, run=str(tmp_path / "fresh"), seed=5)
    runs.train(fresh)
    given, begun, drawn = (final_state(c) for c in (config, other, fresh))
    leaves = [
        np.concatenate([np.ravel(x) for x in jax.tree.leaves(r.state.params)])
        for r in (given, begun, drawn)
    ]
    distances = [np.abs(x - leaves[1]).mean() for x in (leaves[0], leaves[2])]
    assert distances[0] < 0.1 * distances[1]


@pytest.fixture
def dead_weights(tmp_path):
    """A weights file whose layer `structure` is dead."""
    params = inference_params(first_params(MTUNet(SMALLEST)))
    layer = params["structure"]["conv"]
    layer["kernel"], layer["bias"] = 0 * layer["kernel"], layer["bias"] - 1
    save_weights(tmp_path / "dead.safetensors", SMALLEST, params)
    return str(tmp_path / "dead.safetensors")


def test_a_validation_warns_of_dead_channels(
    config, tmp_path, capsys, monkeypatch, dead_weights
):
    monkeypatch.setattr("mtujax.training.dead_channels.WARNS_FROM", 6)
    runs.train(of(config, init_from=dead_weights, train_learning_rate=1e-6))
    said = capsys.readouterr().out
    for update in (4, 6):  # no gradient revives them
        line = rf"dead channels at update {update}: \d+ of 48; structure 4/4"
        assert re.search(line, said)
    assert said.count("warning: 100% of the channels of structure are dead") == 1
    with open(tmp_path / "run" / "validation.csv") as file:
        assert [row["dead_channels"] for row in csv.DictReader(file)] == ["1", "1"]


def test_a_validation_revives_dead_channels_if_it_is_asked_to(
    config, tmp_path, dead_weights
):
    given = dict(init_from=dead_weights, train_learning_rate=1e-6)
    runs.train(of(config, train_revive_dead=True, **given))
    with open(tmp_path / "run" / "validation.csv") as file:
        first, last = (float(row["dead_channels"]) for row in csv.DictReader(file))
    assert first == 1 and last < 1


def test_a_state_goes_on_with_other_data_but_not_with_another_network(
    config, tmp_path, capsys
):
    params = first_params(MTUNet(SMALLEST))
    state = init_train_state(config.train, params).replace(step=np.int32(6))
    file = tmp_path / "state.safetensors"
    write_state(state, {"batches": 6, "config": to_dict(config)}, file)
    other = of(config, data_crop=32, batch=4, resume_state_from=str(file))
    wider = of(other, model=dataclasses.replace(SMALLEST, channels=6))
    with pytest.raises(
        UserError, match=r"state.safetensors: .*model.channels: \d there, 6 here$"
    ):
        runs.train(wider)
    # What was refused is no obstacle to another try.
    assert runs.train(other).updates == 6
    said = capsys.readouterr().out
    assert f"note: resuming from {file}\n" in said
    assert "note: batch: 2 there, 4 here\nnote: data.crop: 16 there, 32 here" in said


def test_settings_that_cannot_be_are_refused_before_anything_is_made(config, tmp_path):
    for changes, message in (
        ({"batch": 3}, "batch 3: 2 devices cannot share it evenly; give 2 or 4"),
        ({"train_frames_per_update": 3}, "clips of 2 frames"),
        ({"data_crop": 128}, "smaller than the 128x128 crop"),
        ({"data_path": str(tmp_path / "gone")}, "gone: no such folder"),
        ({"validation_path": str(tmp_path / "gone")}, "gone: no such folder"),
    ):
        with pytest.raises(UserError, match=message):
            runs.train(of(config, **changes))
    assert not (tmp_path / "run").exists()
