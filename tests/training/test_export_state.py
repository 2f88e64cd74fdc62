import json
import resource
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from states import assert_same, leaves, like, make_state

from mtujax.errors import UsageError, UserError
from mtujax.training.export import MANIFEST, pack, read_extra, unpack

EXTRA = {"batches": 7, "config": {"train": {"steps": 20, "learning_rate": 1e-4}}}
LIMIT = 5000


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive") / "state"
    pack(make_state(1), EXTRA, folder, limit=LIMIT)
    return folder


@pytest.fixture
def copy(packed, tmp_path):
    return shutil.copytree(packed, tmp_path / "state")


def parts(folder):
    return sorted(folder.glob("*.part"))


def test_what_is_unpacked_is_bit_for_bit_what_was_packed(packed):
    state, extra = unpack(packed, like())
    assert_same(state, make_state(1))
    assert all(isinstance(x, jax.Array) for x in leaves(state))
    assert extra == read_extra(packed) == EXTRA


def test_the_parts_are_small_and_together_a_safetensors_file(packed):
    files = parts(packed)
    total = sum(file.stat().st_size for file in files)
    assert len(files) == -(-total // LIMIT) > 3
    assert {p.name for p in packed.iterdir()} == {
        MANIFEST,
        *(f"state-{n + 1:03}-of-{len(files):03}.part" for n in range(len(files))),
    }
    assert max(file.stat().st_size for file in files) == LIMIT
    found = safetensors.numpy.load(b"".join(file.read_bytes() for file in files))
    state = make_state(1)
    name = "ema/structure/conv/kernel"
    expected = state.ema["structure"]["conv"]["kernel"]
    assert found[name].tobytes() == expected.tobytes()
    assert len(found) == len(leaves(state))


def test_without_a_limit_given_parts_are_under_16_mib(tmp_path):
    state = {"x": np.zeros(9 * 2**20, np.uint8), "y": np.zeros(9 * 2**20, np.uint8)}
    files = pack(state, {}, tmp_path / "a")
    assert [file.name for file in files] == [
        "state-001-of-002.part",
        "state-002-of-002.part",
        MANIFEST,
    ]
    assert all(file.stat().st_size < 16 * 2**20 for file in files)


def test_half_precision_and_any_layout_in_memory_come_back(tmp_path):
    grid = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    state = {
        "bf16": jnp.arange(5, dtype=jnp.bfloat16),
        "f16": np.arange(5, dtype=np.float16),
        "turned": grid.T,
        "reversed": grid[:, ::-1],
        "flag": np.array(True),
    }
    pack(state, {}, tmp_path / "a")
    found, _ = unpack(tmp_path / "a", state)
    assert_same(found, state)


def test_a_missing_part_is_named(copy):
    parts(copy)[1].unlink()
    with pytest.raises(UserError, match=r"state-002-of-\d+.part: missing"):
        unpack(copy, like())


@pytest.mark.parametrize("damage, told", [("cut", "bytes, not"), ("flip", "checksum")])
def test_a_damaged_part_is_named(copy, damage, told):
    file = parts(copy)[2]
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data if damage == "flip" else data[:-1])
    with pytest.raises(UserError, match=f"state-003.*{told}"):
        unpack(copy, like())


@pytest.mark.parametrize("damage", ["{", "[]", "other"])
def test_a_damaged_manifest_is_named(copy, damage):
    path = copy / MANIFEST
    text = path.read_text().replace('"batches": 7', '"batches": 8')
    path.write_text(text if damage == "other" else damage)
    with pytest.raises(UserError, match=r"manifest.json: damaged .*copy it again"):
        unpack(copy, like())


def test_a_folder_without_a_manifest_is_no_archive(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match="no archive of a training state"):
            unpack(folder, like())


def test_another_format_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("mtujax.training.export.FORMAT", 9)
    pack({"x": np.zeros(2)}, {}, tmp_path / "a")
    with pytest.raises(UserError, match="of format 9, this version reads 1"):
        unpack(tmp_path / "a", {"x": np.zeros(2)})


def test_another_structure_is_told(copy):
    with pytest.raises(UserError, match="another network or optimiser.* more$"):
        unpack(copy, like("paper"))


def test_what_stands_there_is_kept(copy, tmp_path):
    before = (copy / MANIFEST).read_bytes()
    with pytest.raises(UserError, match="exists already"):
        pack(make_state(2), {}, copy)
    (copy / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="more than an archive: notes.txt"):
        pack(make_state(2), {}, copy, overwrite=True)
    (copy / "notes.txt").unlink()
    assert (copy / MANIFEST).read_bytes() == before
    pack(make_state(2), {}, copy, overwrite=True, limit=10**9)
    assert len(parts(copy)) == 1
    assert_same(unpack(copy, like())[0], make_state(2))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        pack(make_state(2), {}, tmp_path / "file", overwrite=True)
    with pytest.raises(UsageError, match="limit 0"):
        pack(make_state(2), {}, tmp_path / "b", limit=0)


def test_a_full_disk_leaves_what_was_there(copy):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(UserError, match=r"cannot be written \(File too large\)"):
            pack(make_state(2), {}, copy, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in copy.parent.iterdir()] == ["state"]
    assert_same(unpack(copy, like())[0], make_state(1))


def test_the_manifest_tells_what_the_files_are(packed):
    manifest = json.loads((packed / MANIFEST).read_text())
    assert manifest["format"] == 1 and manifest["extra"] == EXTRA
    sizes = {part["name"]: part["bytes"] for part in manifest["parts"]}
    assert sizes == {file.name: file.stat().st_size for file in parts(packed)}
