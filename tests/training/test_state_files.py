import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from disks import full_disk
from states import assert_same, leaves, like, make_state

from mtujax.errors import UserError
from mtujax.training.state_files import read_extra, read_state, write_state
from mtujax.weights.files import load

EXTRA = {"batches": 7, "config": {"train": {"steps": 20, "learning_rate": 1e-4}}}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    file = tmp_path_factory.mktemp("exported") / "state.safetensors"
    write_state(make_state(1), EXTRA, file)
    return file


@pytest.fixture
def copy(written, tmp_path):
    return shutil.copy(written, tmp_path / "state.safetensors")


def test_what_is_read_is_bit_for_bit_what_was_written(written):
    state, extra = read_state(written, like())
    assert_same(state, make_state(1))
    assert all(isinstance(x, jax.Array) for x in leaves(state))
    assert extra == read_extra(written) == EXTRA


def test_a_state_is_a_safetensors_file_of_its_arrays(written):
    found = safetensors.numpy.load_file(written)
    state = make_state(1)
    name = "ema/structure/conv/kernel"
    expected = state.ema["structure"]["conv"]["kernel"]
    assert found[name].tobytes() == expected.tobytes()
    assert len(found) == len(leaves(state))
    with safetensors.safe_open(written, framework="np") as file:
        about = json.loads(file.metadata()["mtujax_state"])
    assert about["format"] == 2 and about["extra"] == EXTRA


def test_half_precision_and_any_layout_in_memory_come_back(tmp_path):
    grid = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    state = {
        "bf16": jnp.arange(5, dtype=jnp.bfloat16),
        "f16": np.arange(5, dtype=np.float16),
        "turned": grid.T,
        "reversed": grid[:, ::-1],
        "flag": np.array(True),
    }
    write_state(state, {}, tmp_path / "a.safetensors")
    found, _ = read_state(tmp_path / "a.safetensors", state)
    assert_same(found, state)


@pytest.mark.parametrize("at", ["header", "checksum", "extra", "first", "last"])
def test_a_flipped_bit_is_noticed(copy, at):
    data = bytearray(copy.read_bytes())
    length = int.from_bytes(data[:8], "little")
    place = {"header": 8, "first": 8 + length, "last": len(data) - 1}
    place |= {"checksum": data.index(b"sha256") + 12, "extra": data.index(b"batches")}
    data[place[at]] ^= 1
    copy.write_bytes(data)
    with pytest.raises(UserError, match=r"state.safetensors: damaged .*copy it again$"):
        read_state(copy, like())


@pytest.mark.parametrize("kept", [0, 4, 1000, -1])
def test_a_cut_file_is_noticed(copy, kept):
    copy.write_bytes(copy.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"state.safetensors: damaged .*copy it again$"):
        read_state(copy, like())


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "[]", "null", '{"seal": 1}'])
def test_damaged_values_of_a_state_are_named(tmp_path, text):
    path = tmp_path / "state.safetensors"
    safetensors.numpy.save_file({"x": np.zeros(2)}, path, {"mtujax_state": text})
    with pytest.raises(UserError, match=r"state.safetensors: damaged .*copy it again$"):
        read_extra(path)


def test_what_is_no_state_is_named_with_what_writes_one(tmp_path):
    writes = "`mtujax export RUN STATE.safetensors --state` writes one$"
    with pytest.raises(UserError, match=f"is a folder, but a state is one.*{writes}"):
        read_extra(tmp_path)  # as earlier versions wrote it
    with pytest.raises(UserError, match=f"none: no such file; {writes}"):
        read_extra(tmp_path / "none")
    other = tmp_path / "other.safetensors"
    safetensors.numpy.save_file({"x": np.zeros(2)}, other)
    with pytest.raises(UserError, match=f"holds no training state; {writes}"):
        read_extra(other)


def test_a_state_is_not_taken_for_weights(written):
    with pytest.raises(UserError, match="a training state, for resume_state_from=; "):
        load(str(written))


def test_another_format_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("mtujax.training.state_files.FORMAT", 9)
    write_state({"x": np.zeros(2)}, {}, file := tmp_path / "a.safetensors")
    monkeypatch.undo()
    with pytest.raises(UserError, match="of format 9, this version reads 2"):
        read_state(file, {"x": np.zeros(2)})


def test_another_structure_is_told(copy):
    with pytest.raises(UserError, match="another network or optimiser.* more$"):
        read_state(copy, like("paper"))


def test_what_stands_there_is_kept(copy, tmp_path):
    before = copy.read_bytes()
    with pytest.raises(UserError, match="exists already"):
        write_state(make_state(2), {}, copy)
    assert copy.read_bytes() == before
    write_state(make_state(2), {}, copy, overwrite=True)
    assert_same(read_state(copy, like())[0], make_state(2))
    with pytest.raises(UserError, match="ends in .safetensors"):
        write_state(make_state(2), {}, tmp_path / "state")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        write_state(make_state(2), {}, tmp_path / "folder.safetensors", overwrite=True)


def test_a_full_disk_leaves_what_was_there(copy):
    told = pytest.raises(UserError, match=r"cannot be written \(File too large\)")
    with full_disk(1000), told:
        write_state(make_state(2), {}, copy, overwrite=True)
    assert [path.name for path in copy.parent.iterdir()] == ["state.safetensors"]
    assert_same(read_state(copy, like())[0], make_state(1))
