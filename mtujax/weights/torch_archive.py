"""The two formats of `torch.save`: a zip archive, and pickles before raw values (1.5).

A file is mapped: values that are stored as they are stay on disk until they are read.
"""

import io
import mmap
import os
import struct
import zipfile
import zlib
from typing import Any

from mtujax.weights.torch_pickle import DTYPES, Storage, read_pickle

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
    # PyTorch writes 0 where it was told to write no checksums.
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
