"""Examples in the docstrings of what the package hands on give what they show."""

import doctest
import importlib
import shutil

import jax
import jax.numpy as jnp
import media
import numpy as np
import pytest
from places import ROOT

from mtujax.synthesis.photos import read_photo
from mtujax.synthesis.sets import Filming, filmed, write_set
from scripts import reference

pytestmark = pytest.mark.slow
FACES = [face for face in reference.faces() if not face.endswith("torch_port")]
TARGETS = {name: at for face in FACES for name, at in reference.exported(face)}
REQUIRED = "mtujax mtujax.metrics mtujax.model mtujax.ops mtujax.weights".split()
SHOWN = [
    name for name, at in TARGETS.items() if "Examples:\n" in reference.docstring(at)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, weights_file):
    """What examples read: weights, a video, a folder of videos, a set of pairs."""
    folder = tmp_path_factory.mktemp("examples")
    shutil.copy(weights_file, folder / "mine.safetensors")
    (folder / "clips").mkdir()
    media.h264_mp4(folder / "shaky.mp4", media.scene(4))
    shutil.copy(folder / "shaky.mp4", folder / "clips")
    photo = {"arches": read_photo(str(ROOT / "mtujax" / "assets" / "arches.jpg"))}
    for split in ("train", "test"):
        filming = Filming(clips=1, frames=4, width=64, height=48)
        write_set(filmed(photo, filming), folder / "set", about={}, split=split)
    return folder


@pytest.mark.parametrize("face", REQUIRED)
def test_every_name_has_an_example(face):
    names = {name for name, _ in reference.exported(face)}
    assert names - {*SHOWN} <= {"convert_checkpoint"}  # needs a file of the authors


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_an_example_gives_what_it_shows(name, folder, tiny, clip, monkeypatch):
    monkeypatch.chdir(folder)
    model, params = tiny
    modules = [importlib.import_module(face) for face in FACES]
    known = {n: getattr(m, n) for m in reversed(modules) for n in m.__all__}
    known |= {"jax": jax, "jnp": jnp, "np": np}
    known |= {"model": model, "params": params, "clip": jnp.asarray(clip)}
    known |= {"camera": media.scene(4), "show": lambda frame: None}
    text = reference.docstring(TARGETS[name])
    example = doctest.DocTestParser().get_doctest(text, known, name, None, None)
    said = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    result = runner.run(example, out=said.append)
    assert not result.failed, "".join(said)
