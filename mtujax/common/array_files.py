"""Arrays in files, .npy and .npz: an error of one line for whatever is wrong with one.

No pickle: reading runs no code. Nothing is allocated for what a header claims and the
file does not hold.
"""

import math
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mtujax.common.files import file_digest
from mtujax.errors import UserError

_LOCAL_HEADER = 30  # bytes of a zip member's header, before its name


def map_npy(path: Path) -> np.ndarray:
    """A memory-mapped array of an .npy file; a UserError if it holds none."""
    try:
        return np.lib.format.open_memmap(path, "r")
    except Exception as error:
        raise _named(path, error, "NumPy array") from error


def read_npz(
    path: Path,
    names: Sequence[str] | None = None,
    *,
    sha256: str | None = None,
    remedy: str = "",
) -> dict[str, np.ndarray]:
    """Arrays of an .npz file by name; uncompressed ones are memory-mapped.

    `names` None takes all; `sha256` is of the whole file. A UserError if it is missing
    or damaged, or lacks one of `names`.
    """
    try:
        if sha256 is not None and file_digest(path) != sha256:
            raise ValueError("its checksum does not agree")
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            there = [name.removesuffix(".npy") for name in archive.namelist()]
            found = {
                name: _member(path, archive, name)
                for name in (there if names is None else names)
                if name in there
            }
    except Exception as error:
        raise _named(path, error, ".npz file", remedy) from error
    if names is not None and len(found) < len(names):
        listed = " and ".join(f"`{name}`" for name in names)
        raise UserError(f"{path}: needs the arrays {listed}{_after(remedy)}")
    return found


def _named(path, error, kind, remedy=""):
    """The error for a file; of any kind, as what parses it may meet garbage."""
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path}: no such file")
    if isinstance(error, OSError) and error.filename:
        return UserError(f"{path}: cannot be read ({error.strerror})")
    return UserError(f"{path}: damaged, or no {kind}{_after(remedy)}")


def _after(remedy):
    return f"; {remedy}" if remedy else ""


def _member(path, archive, name):
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type != zipfile.ZIP_STORED:
        with archive.open(info) as file:
            _header(file, info.file_size)
        with archive.open(info) as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    with path.open("rb") as file:
        file.seek(info.header_offset)
        head = file.read(_LOCAL_HEADER)
        name_bytes, extra_bytes = struct.unpack_from("<HH", head, _LOCAL_HEADER - 4)
        start = file.seek(name_bytes + extra_bytes, 1)
        shape, fortran, dtype = _header(file, info.file_size, start)
        if not all(shape):  # there is nothing to map
            return np.zeros(shape, dtype)
        order = "F" if fortran else "C"
        return np.memmap(file, dtype, "r", file.tell(), shape, order)


def _header(file, size, start=0):
    """Shape, order and dtype of an array that takes `size` bytes with its header."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    bytes_ = math.prod(shape) * dtype.itemsize  # Python's integers do not overflow
    if dtype.hasobject or file.tell() - start + bytes_ != size:
        raise ValueError("its header does not agree with its length")
    return shape, fortran, dtype
