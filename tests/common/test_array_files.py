"""Arrays in files: read as NumPy reads them, and named where they are damaged."""

import io
import pickle
import zipfile

import numpy as np
import pytest

from mtujax.common.array_files import map_npy, read_npz
from mtujax.common.files import digest
from mtujax.errors import UserError

ARRAYS = {
    "whole": np.arange(12, dtype=np.float16).reshape(3, 4),
    "flags": np.array([True, False]),
    "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "one": np.array(7),
    "empty": np.zeros((0, 3), np.int8),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_as_they_were_written(tmp_path, save):
    path = tmp_path / "a.npz"
    save(path, **ARRAYS)
    found = read_npz(path, sha256=digest(path.read_bytes()))
    assert found.keys() == ARRAYS.keys()
    for name, wanted in ARRAYS.items():
        np.testing.assert_array_equal(found[name], wanted)
        assert found[name].dtype == wanted.dtype
    assert read_npz(path, ["flags"]).keys() == {"flags"}
    with pytest.raises(UserError, match="a.npz: needs the arrays `one` and `two`"):
        read_npz(path, ["one", "two"])
    with pytest.raises(UserError, match="a.npz: damaged, or no .npz file; do it again"):
        read_npz(path, sha256=digest(b""), remedy="do it again")


def header(shape, descr="<f8"):
    """An .npy file whose header claims a shape, with 8 bytes of content."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": descr, "fortran_order": False, "shape": shape}
    )
    return file.getvalue() + bytes(8)


BAD = {
    "empty": b"",
    "garbage": b"no array at all",
    "cut": header((1,))[:-3],
    "giant": header((10**6, 10**6)),
    "giant beyond integers": header((2**62, 2**62)),
    "negative": header((-1,)),
    "half a header": header((1,))[:40],
    "unclosed": header((1,)).replace(b"}", b"("),
    "pickled": header((1,), "|O"),
    "only a pickle": pickle.dumps([1]),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_what_is_no_array_is_named(tmp_path, data, method):
    path, alone = tmp_path / "a.npz", tmp_path / "a.npy"
    alone.write_bytes(data)
    with pytest.raises(UserError, match="a.npy: damaged, or no NumPy array$"):
        map_npy(alone)
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.npy", data)
    with pytest.raises(UserError, match="a.npz: damaged, or no .npz file$"):
        read_npz(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UserError, match="a.npy: no such file"):
        map_npy(tmp_path / "a.npy")
    with pytest.raises(UserError, match="cannot be read"):
        read_npz(tmp_path)
    np.savez(tmp_path / "a.npz", x=1)
    with pytest.raises(UserError, match="damaged, or no NumPy array"):
        map_npy(tmp_path / "a.npz")
