"""Examples in the docstrings of what `mtujax` hands on give what they show."""

import doctest
import shutil

import jax
import jax.numpy as jnp
import media
import numpy as np
import pytest
from places import ROOT

import mtujax
from mtujax.model.network import parameter_count
from mtujax.synthesis.photos import read_photo
from mtujax.synthesis.sets import Filming, filmed, write_set
from mtujax.weights.files import describe
from scripts import reference

pytestmark = pytest.mark.slow
TARGETS = dict(reference.exported("mtujax"))


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


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_an_example_gives_what_it_shows(name, folder, tiny, clip, monkeypatch):
    monkeypatch.chdir(folder)
    model, params = tiny
    known = {key: getattr(mtujax, key) for key in TARGETS}
    known |= {"jax": jax, "jnp": jnp, "np": np, "describe": describe}
    known["parameter_count"] = parameter_count
    known |= {"model": model, "params": params, "clip": jnp.asarray(clip)}
    known |= {"camera": media.scene(4), "show": lambda frame: None}
    text = reference.docstring(TARGETS[name])
    example = doctest.DocTestParser().get_doctest(text, known, name, None, None)
    assert example.examples and "Examples:\n" in text, f"{name} has no example"
    said = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    result = runner.run(example, out=said.append)
    assert not result.failed, "".join(said)
