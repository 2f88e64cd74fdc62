"""Files of a training run that are small enough to be brought home."""

import os

import pytest
from networks import SMALLEST

import mtujax
from benchmarks.gpu import learn
from mtujax.common.dataclass_json import to_dict
from mtujax.training import state_files
from mtujax.training.config import RunConfig, TrainConfig


@pytest.mark.parametrize("size, names", [(10, [""]), (25, [".00", ".01", ".02"])])
def test_parts_of_a_state_are_joined_again(tmp_path, monkeypatch, size, names):
    monkeypatch.setattr(learn, "MOST", 10)
    (tmp_path / "scratch").mkdir()
    data = os.urandom(size)
    learn.write_parts(tmp_path / learn.STATE, data)
    made = {path.name: path.stat().st_size for path in tmp_path.glob("state*")}
    assert set(made) == {learn.STATE + end for end in names}
    assert max(made.values()) <= 10
    start = learn.joined(str(tmp_path / learn.STATE), tmp_path / "scratch")
    with open(start, "rb") as file:
        assert file.read() == data


def test_what_split_has_cut_is_joined_too(tmp_path):
    for end, data in (("aa", b"one"), ("ab", b"two")):
        (tmp_path / f"state.safetensors.{end}").write_bytes(data)
    (tmp_path / "scratch").mkdir()
    start = learn.joined(str(tmp_path / learn.STATE), tmp_path / "scratch")
    with open(start, "rb") as file:
        assert file.read() == b"onetwo"


def test_an_earlier_state_of_another_form_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(learn, "MOST", 10)
    (tmp_path / "scratch").mkdir()
    for size in (25, 5, 15):
        data = os.urandom(size)
        learn.write_parts(tmp_path / learn.STATE, data)
        start = learn.joined(str(tmp_path / learn.STATE), tmp_path / "scratch")
        with open(start, "rb") as file:
            assert file.read() == data


def test_other_beginnings_stay_what_they_are(tmp_path):
    for start in (None, "fast", str(tmp_path / "nix.safetensors")):
        assert learn.joined(start, tmp_path) == start
    assert learn.beginning("fast") == {"init_from": "fast"}
    assert learn.beginning(None) == {}


def test_a_rehearsal_has_the_size_of_what_it_starts_from(tmp_path, monkeypatch):
    def size(model):
        return dict(channels=model.channels, num_blocks=model.num_blocks)

    assert learn.size_of(None) == learn.TINY_NETWORK
    assert learn.size_of("fast") == size(mtujax.PRESETS["fast"])
    config = to_dict(RunConfig(SMALLEST, TrainConfig(steps=1), run="any"))
    monkeypatch.setattr(state_files, "read_extra", lambda path: {"config": config})
    (state := tmp_path / learn.STATE).touch()
    assert learn.size_of(str(state)) == size(SMALLEST)
