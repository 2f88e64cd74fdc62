"""A PyTorch checkpoint as a state dict of floats, read without PyTorch."""

import io
import mmap
import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from mtujax.common.files import WEB_PAGE, digest, is_web_page
from mtujax.common.text import printable
from mtujax.errors import WeightsError
from mtujax.weights.safetensors_io import finite_findings, refuse
from mtujax.weights.torch_pickle import (
    DTYPES,
    ForeignError,
    Storage,
    Tensor,
    Unreadable,
    read_pickle,
)

_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001  # of the older format
_MOST_PICKLED = 1 << 26  # bytes; a released checkpoint has 50 thousand


def read_content(file) -> tuple[Any, memoryview]:
    """Reads what `torch.save` wrote to an open file, and all bytes of the file."""
    # Raises `ForeignError`, or any exception if it is damaged.
    if not os.fstat(file.fileno()).st_size:
        raise EOFError
    data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    whole = memoryview(data)
    if whole[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(file) as archive:
            return _read_zip(archive, whole), whole
    return _read_older(data), whole


def _read_zip(archive, whole):
    names = archive.namelist()
    if min(info.header_offset for info in archive.infolist()):
        raise ValueError("another archive is in front of it")
    folder = names[0].partition("/")[0]
    order = "<"
    if f"{folder}/byteorder" in names:
        said = bytes(_member(archive, whole, f"{folder}/byteorder", 16))
        order = {b"little": "<", b"big": ">"}[said]
    storages = {}

    def storage_at(place):
        dtype, key, _, size = place
        if key not in storages:
            made = Storage(dtype, size, order=order)
            name = f"{folder}/data/{key}"
            made.data = _member(archive, whole, name, made.nbytes)
            if len(made.data) != made.nbytes:
                raise ValueError("a storage is of another size than declared")
            storages[key] = made
        return _same(storages[key], dtype, size)

    pickled = _member(archive, whole, f"{folder}/data.pkl", _MOST_PICKLED)
    return read_pickle(io.BytesIO(pickled), storage_at)


def _member(archive, whole, name, most):
    """The bytes of a member, mapped if they are not compressed."""
    if archive.namelist().count(name) != 1:
        raise ValueError(f"{name} is missing or there twice")
    info = archive.getinfo(name)
    if info.file_size > most:
        raise ValueError(f"{name} is larger than declared")
    if info.compress_type != zipfile.ZIP_STORED:
        with archive.open(info) as file:
            return file.read(most)
    start = info.header_offset
    lengths = struct.unpack("<HH", whole[start + 26 : start + 30])
    start += 30 + sum(lengths)
    data = whole[start : start + info.file_size]
    # PyTorch writes 0 if it is configured to write no checksums.
    if len(data) != info.file_size or info.CRC not in (0, zlib.crc32(data)):
        raise ValueError(f"{name} is damaged")
    return data


def _same(storage, dtype, size):
    if (storage.dtype, storage.size) != (dtype, size):
        raise ValueError("a storage is declared twice, and differently")
    return storage


def _read_older(data):
    storages, parts = {}, []

    def storage_at(place):
        dtype, key, _, size, part = place
        whole = storages.setdefault(key, Storage(dtype, size))
        _same(whole, dtype, size)
        if part is None:
            return whole
        _, offset, count = part
        if not 0 <= offset <= offset + count <= size:
            raise ValueError("a part is beyond its storage")
        parts.append((Storage(dtype, count), whole, offset))
        return parts[-1][0]

    def nothing_at(place):
        raise ValueError("a storage in front of the content")

    if read_pickle(data, nothing_at) != _MAGIC:
        raise ValueError("not a checkpoint")
    if read_pickle(data, nothing_at) != _VERSION:
        raise ValueError("a version that does not exist")
    read_pickle(data, nothing_at)  # the machine that wrote it
    content = read_pickle(data, storage_at)
    keys = read_pickle(data, nothing_at)
    if sorted(keys) != sorted(storages):
        raise ValueError("a storage is missing")
    view, start = memoryview(data), data.tell()
    for key in keys:
        storage = storages[key]
        (size,) = struct.unpack("<q", view[start : start + 8])
        storage.data = view[start + 8 : start + 8 + storage.nbytes]
        if size != storage.size or len(storage.data) != storage.nbytes:
            raise ValueError("a storage is of another size than declared")
        start += 8 + storage.nbytes
    for part, whole, offset in parts:
        at = offset * DTYPES[whole.dtype].itemsize
        part.data = whole.data[at : at + part.nbytes]
    return content


# Keys under which a state dict is stored next to an optimizer's state and epoch.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "params")
_MUCH = 1 << 28  # bytes of float32, which a small file may declare by strides of 0


def read_checkpoint(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], str]:
    """Reads a state dict of finite floats, running no code, and its SHA-256."""
    # Values that the file has as float32 are mapped, and read-only.
    content, data = _read(Path(path))
    if not isinstance(content, dict) or not content:
        kind = type(content).__name__
        raise WeightsError(
            f"{path}: holds {'an empty' if content == {} else 'a'} {kind}, expected a "
            "state dict of tensors; save `model.state_dict()`"
        )
    for name in _WRAPPERS:
        if isinstance(content.get(name), dict):
            raise WeightsError(
                f"{path}: its tensors lie under {name!r}, next to what training kept; "
                f"save them alone: torch.save(torch.load(FILE)[{name!r}], NEW)"
            )
    found, findings = {}, []
    for name, value in content.items():
        problem = None
        if isinstance(value, Unreadable):
            problem = f"is {value.what}, expected plain values"
        elif not isinstance(value, Tensor):
            problem = f"is a {type(value).__name__}, expected a tensor"
        elif DTYPES[value.dtype].kind in "biuc":
            problem = f"is torch.{value.dtype}, expected floating point"
        short = str(name).removeprefix("module.").removeprefix("Network.")
        if problem is None and short in found:
            problem = "is there twice, with and without prefix"
        if problem is not None:
            findings.append(f"{name} {problem}")
        else:
            found[short] = value
    refuse(path, findings)
    if 4 * sum(value.size for value in found.values()) > max(_MUCH, 4 * len(data)):
        raise WeightsError(f"{path}: declares more values than it holds; get it again")
    tensors = {n: v.array().astype(np.float32, copy=False) for n, v in found.items()}
    refuse(path, finite_findings(tensors))
    return tensors, digest(data)


def _read(path):
    """The content of a checkpoint and its bytes; WeightsError if it has none."""
    try:
        if path.suffix == ".safetensors" and path.exists():
            raise WeightsError(
                f"{path}: no PyTorch checkpoint but safetensors; if mtujax wrote it, "
                "it needs no converting and loads as it is"
            )
        with open(path, "rb") as file:
            return read_content(file)
    except WeightsError:
        raise
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from None
    except ForeignError as error:
        raise WeightsError(
            f"{path}: refused, it holds objects or code ({printable(str(error))}), "
            "none of which was run; only a state dict of tensors is read"
        ) from None
    except Exception as error:  # whatever damaged bytes make the reader raise
        if is_web_page(path):
            raise WeightsError(
                f"{path}: {WEB_PAGE}, not a checkpoint; get the file again"
            ) from None
        # Only our own errors explain what is wrong.
        why = f" ({printable(str(error))})" * (type(error) is ValueError)
        raise WeightsError(
            f"{path}: damaged or not a PyTorch checkpoint{why}; get it again"
        ) from None
