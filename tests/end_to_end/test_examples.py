"""Examples in the docstrings of what the package exports give what they show."""

import doctest
import fractions
import functools
import importlib
import io
import pathlib
import shutil

import jax
import jax.numpy as jnp
import media
import numpy as np
import pytest
from networks import SMALLEST
from optional import NEEDED
from places import ROOT

from mtujax.common.dataclass_json import to_dict
from mtujax.liteflownet import LiteFlowNet, save_teacher
from mtujax.model.network import MTUNet, init_params
from mtujax.synthesis.photos import read_photo
from mtujax.synthesis.sets import Filming, filmed, write_set
from mtujax.training.checkpoints import Checkpoints
from mtujax.training.config import RunConfig, TrainConfig
from mtujax.training.optimizers import init_train_state
from mtujax.training.run_folder import RunFolder
from scripts import reference

pytestmark = pytest.mark.slow
FACES = list(reference.faces())
TARGETS = {name: at for face in FACES for name, at in reference.exported(face)}
SHOWN = [
    name for name, at in TARGETS.items() if "Examples:\n" in reference.docstring(at)
]
WITHOUT = {
    "convert_checkpoint": "a checkpoint of the authors",
    "convert_teacher": "a checkpoint of LiteFlowNet's authors",
    "fetch_dataset": "a download of gigabytes",
    "FetchedDataset": "a download of gigabytes",
    "fetch_weights": "a download of hundreds of megabytes",
    "FetchedWeights": "a download of hundreds of megabytes",
}
"""Names whose example could not run, by what it would need."""


def zeros(function, *args):
    """What a function would return, of zeros, without computing it."""
    shapes = jax.eval_shape(function, *args)
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)


def save_run(folder):
    """A run directory with a checkpoint after two updates."""
    config = RunConfig(SMALLEST, TrainConfig(steps=2, scheme="release"))
    model = MTUNet(SMALLEST)
    state = zeros(
        lambda key: init_train_state(config.train, init_params(model, key)),
        jax.random.key(0),
    )
    folder.mkdir(parents=True)
    RunFolder(str(folder)).write_config(to_dict(config))
    with Checkpoints(str(folder / "checkpoints")) as checkpoints:
        state = state.replace(step=np.int32(2))
        checkpoints.save(2, state, {"batches": 2}, psnr=28.5)


def save_flow_teacher(path):
    frame = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    drawn = zeros(LiteFlowNet().init, jax.random.key(0), frame, frame)
    save_teacher(path, drawn["params"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory, weights_file):
    """What examples read: weights, videos, photographs, a set of pairs, a run."""
    folder = tmp_path_factory.mktemp("examples")
    shutil.copy(weights_file, folder / "mine.safetensors")
    (folder / "clips").mkdir()
    media.h264_mp4(folder / "shaky.mp4", media.scene(4))
    shutil.copy(folder / "shaky.mp4", folder / "clips")
    (folder / "photos").mkdir()
    photo = shutil.copy(ROOT / "mtujax/assets/arches.jpg", folder / "photos")
    for split in ("train", "test"):
        filming = Filming(clips=1, frames=6, width=64, height=48)
        clips = filmed({"arches": read_photo(str(photo))}, filming)
        write_set(clips, folder / "set", about={}, split=split, flow=split == "train")
    save_run(folder / "runs" / "mine")
    save_flow_teacher(folder / "teacher.safetensors")
    return folder


def test_every_name_has_an_example():
    assert {*TARGETS} - {*SHOWN} == {*WITHOUT}


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_an_example_gives_what_it_shows(name, folder, tiny, clip, monkeypatch):
    monkeypatch.chdir(folder)
    model, params = tiny
    known = {"jax": jax, "jnp": jnp, "np": np, "io": io, "functools": functools}
    known |= {"Path": pathlib.Path, "Fraction": fractions.Fraction}
    own = next((face for face in NEEDED if TARGETS[name].startswith(f"{face}.")), None)
    if own:
        known[NEEDED[own]] = pytest.importorskip(NEEDED[own])
    faces = [face for face in FACES if face not in NEEDED or face == own]
    for face in reversed(faces):
        module = importlib.import_module(face)
        known |= {n: getattr(module, n) for n in module.__all__}
    known |= {"model": model, "params": params, "clip": jnp.asarray(clip)}
    known |= {"camera": media.scene(4), "show": lambda frame: None}
    text = reference.docstring(TARGETS[name])
    example = doctest.DocTestParser().get_doctest(text, known, name, None, None)
    said = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    result = runner.run(example, out=said.append)
    assert not result.failed, "".join(said)
