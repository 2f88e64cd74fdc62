"""What `torch.save` wrote, read without PyTorch: equal to `torch.load`, or refused."""

import collections
import copy
import itertools
import pickle
import struct
import zipfile

import numpy as np
import pytest

from mtujax.errors import WeightsError
from mtujax.weights.torch_pickle import ForeignError, Tensor
from mtujax.weights.torch_reader import read_checkpoint, read_content

torch = pytest.importorskip("torch")

FORMATS = {"zip": True, "older": False}


def contents():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(4, 6, generator=generator)
    kinds = "float16 bfloat16 float64 int8 int16 int32 int64 uint8 bool".split()
    kinds += ["complex64", "complex128"]
    newer = "uint16 uint32 uint64 float8_e4m3fn float8_e5m2".split()
    shared = torch.arange(24, dtype=torch.float32)
    yield "plain", collections.OrderedDict(a=values, b=torch.arange(5))
    yield "kinds", {kind: values.abs().to(getattr(torch, kind)) for kind in kinds}
    yield "newer", {kind: values.abs().to(getattr(torch, kind)) for kind in newer}
    yield "shapes", [torch.tensor(3.0), torch.zeros(0, 3), torch.zeros(2, 1, 0)]
    yield (
        "strides",
        {"t": values.t(), "e": values[0, :1].expand(5), "s": values[:, ::2]},
    )
    yield "shares", {"all": shared, "part": shared[6:18].view(3, 4), "same": shared}
    yield "module", torch.nn.Conv2d(2, 3, 3).state_dict()
    yield "parameter", {"p": torch.nn.Parameter(values)}
    yield "nested", {"a": [1, -7, 1 << 40, 2.5, None, True, "é"], "t": ((1, 2), values)}
    yield "others", (torch.Size([1, 2]), b"\x00\xff", {}, [], (), {3: {None: False}})


CONTENTS = dict(contents())


def save(content, path, kind="zip"):
    torch.save(content, path, _use_new_zipfile_serialization=FORMATS[kind])
    return path


def read(path):
    with open(path, "rb") as file:
        return read_content(file)[0]


def assert_equal(ours, theirs):
    if isinstance(theirs, torch.Tensor):
        assert isinstance(ours, Tensor) and f"torch.{ours.dtype}" == str(theirs.dtype)
        assert ours.shape == tuple(theirs.shape)
        if theirs.numel() and ours.strides:
            steps = zip(ours.strides, theirs.stride(), ours.shape, strict=True)
            assert all(a == b for a, b, n in steps if n > 1)
        exact = torch.complex128 if theirs.is_complex() else torch.float64
        expected = theirs.detach().to(exact).numpy()
        np.testing.assert_array_equal(ours.array().astype(expected.dtype), expected)
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            assert_equal(ours[key], theirs[key])
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert_equal(a, b)
    else:
        assert type(ours) is type(theirs) and ours == theirs


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", CONTENTS)
def test_it_is_what_pytorch_reads(tmp_path, name, kind):
    if (name, kind) == ("newer", "older"):
        pytest.skip("PyTorch writes them in the older format, and cannot read them")
    path = save(CONTENTS[name], tmp_path / "file.pt", kind)
    assert_equal(read(path), torch.load(path, weights_only=True))


@pytest.mark.parametrize("kind", FORMATS)
def test_tensors_that_share_values_still_share_them(tmp_path, kind):
    found = read(save(CONTENTS["shares"], tmp_path / "file.pt", kind))
    everything, part = found["all"].array(), found["part"].array()
    assert np.shares_memory(everything, part)
    assert not everything.flags.writeable


def rewritten(path, change, method=zipfile.ZIP_STORED):
    """The archive with other members: `change` takes and returns {name: bytes}."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in change(members).items():
            archive.writestr(name, data)
    return path


def test_values_of_a_machine_of_the_other_byte_order_are_turned(tmp_path):
    kinds = (np.float32, np.int16, np.complex64, np.float64, np.int8)
    arrays = [np.arange(6).astype(kind) for kind in kinds]
    path = save([torch.from_numpy(array) for array in arrays], tmp_path / "file.pt")

    def turn(members):
        for k, array in enumerate(arrays):
            members[f"file/data/{k}"] = array.byteswap().tobytes()
        return members | {"file/byteorder": b"big"}

    rewritten(path, turn)
    assert_equal(read(path), torch.load(path, weights_only=True))
    for ours, array in zip(read(path), arrays, strict=True):
        np.testing.assert_array_equal(ours.array(), array)


def test_compressed_members_are_read(tmp_path):
    path = save(CONTENTS["plain"], tmp_path / "file.pt")
    rewritten(path, copy.copy, zipfile.ZIP_DEFLATED)
    assert_equal(read(path), CONTENTS["plain"])


def test_a_file_without_checksums_is_read(tmp_path):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        path = save(CONTENTS["plain"], tmp_path / "file.pt")
    finally:
        torch.serialization.set_crc32_options(before)
    assert_equal(read(path), CONTENTS["plain"])


@pytest.mark.parametrize("kind", FORMATS)
def test_no_cut_file_is_read_but_at_the_end(tmp_path, kind):
    path = save({"a": torch.arange(40.0)}, tmp_path / "file.pt", kind)
    whole = path.read_bytes()
    for length in itertools.chain(range(1, len(whole), 13), [len(whole) - 1]):
        path.write_bytes(whole[:length])
        with pytest.raises(Exception):  # noqa: B017
            read(path)


def test_a_changed_value_is_noticed(tmp_path):
    path = save({"a": torch.arange(40.0)}, tmp_path / "file.pt")
    whole = path.read_bytes()
    at = whole.index(np.arange(40, dtype=np.float32).tobytes())
    path.write_bytes(whole[: at + 9] + b"\x07" + whole[at + 10 :])
    with pytest.raises(ValueError, match="damaged"):
        read(path)


class Global:
    """A global of any name, in a pickle of our own."""

    def __init__(self, module, name):
        self.data = f"c{module}\n{name}\n".encode()


def dumped(value):
    """A pickle of protocol 2, written opcode by opcode."""
    return b"\x80\x02" + _opcodes(value) + b"."


def _opcodes(value):
    match value:
        case Global():
            return value.data
        case bool() | None:
            return {True: b"\x88", False: b"\x89", None: b"N"}[value]
        case int():
            data = pickle.encode_long(value)
            return b"\x8a" + bytes([len(data)]) + data
        case str():
            return b"X" + struct.pack("<I", len(value)) + value.encode()
        case bytes():
            return value
        case tuple():
            return b"(" + b"".join(map(_opcodes, value)) + b"t"
        case dict():
            items = itertools.chain.from_iterable(value.items())
            return b"}(" + b"".join(map(_opcodes, items)) + b"u"


FLOATS = Global("torch", "FloatStorage")


def tensor(offset=0, shape=(4,), strides=(1,), size=4, storage=FLOATS):
    place = _opcodes(("storage", storage, "0", "cpu", size)) + b"Q"
    args = (place, offset, shape, strides, False, None)
    rebuild = Global("torch._utils", "_rebuild_tensor_v2")
    return _opcodes(rebuild) + _opcodes(args) + b"R"


def archive(path, content, data=bytes(16)):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x/version", b"3\n")
        file.writestr("x/data.pkl", dumped(content))
        file.writestr("x/data/0", data)
    return path


def test_tensors_of_our_own_pickle_are_read(tmp_path):
    path = archive(tmp_path / "a.pt", {"a": tensor()})
    assert_equal(read(path), {"a": torch.zeros(4)})


@pytest.mark.parametrize(
    "wrong",
    [
        {"offset": -1},
        {"offset": 1},
        {"offset": 1 << 70},
        {"strides": (-1,)},
        {"strides": (2,)},
        {"strides": (1, 1)},
        {"shape": (5,)},
        {"shape": (-4,)},
        {"shape": (1 << 60,), "strides": (0,)},
        {"shape": (0, 1 << 62), "strides": (1, 1)},
        {"shape": (1,) * 70, "strides": (1,) * 70},
        {"size": 5},
        {"size": 1 << 60},
        {"size": -4},
        {"storage": Global("torch", "DoubleStorage")},
        {"storage": "torch.FloatStorage"},
    ],
)
def test_a_tensor_beyond_its_storage_is_refused(tmp_path, wrong):
    path = archive(tmp_path / "a.pt", {"a": tensor(**wrong)})
    with pytest.raises((ValueError, ForeignError)):
        read(path)


def test_a_large_shape_of_few_values_takes_no_memory(tmp_path):
    path = archive(tmp_path / "a.pt", {"a": tensor(shape=(1 << 40,), strides=(0,))})
    with pytest.raises(ValueError, match="declares more values than it holds"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "module, name",
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("__builtin__", "getattr"),
        ("torch", "load"),
        ("torch.storage", "_load_from_bytes"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("mtujax.weights.torch_pickle", "read_pickle"),
    ],
)
def test_any_other_global_is_refused_by_its_name(tmp_path, module, name):
    called = _opcodes(Global(module, name)) + _opcodes(("x",)) + b"R"
    path = archive(tmp_path / "a.pt", {"a": called})
    with pytest.raises(ForeignError, match=name):
        read(path)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)


def test_a_name_that_breaks_lines_is_refused_in_one(tmp_path):
    called = _opcodes("o\ns") + _opcodes("sys\x1btem") + b"\x93" + _opcodes(()) + b"R"
    path = archive(tmp_path / "a.pt", {"a": called})
    with pytest.raises(WeightsError, match=r"refused.*o\\ns\.sys\\x1btem"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "opcodes",
    [
        b"U\x05ab",  # a string that ends too early
        b"X\xff\xff\xff\xffab",
        b"\x8b\xff\xff\xff\x7fab",
        b"\x8d" + b"\xff" * 7 + b"\x00ab",
        b"\x95" + b"\xff" * 7 + b"\x00N",
        b"h\x07",  # from an empty memory
        b"0" * 3,
        b"t",  # without a mark
        b"}}N\x86",
        b"}]Ns",  # a list as a key
        b"})Nb",  # state for a dict
    ],
)
def test_damaged_pickles_end_in_an_error(tmp_path, opcodes):
    path = archive(tmp_path / "a.pt", opcodes + b"0N")
    with pytest.raises(Exception):  # noqa: B017
        read(path)


def test_a_place_of_the_memory_far_away_takes_none(tmp_path):
    path = archive(tmp_path / "a.pt", b"Nr\xff\xff\xff\xff")
    assert read(path) is None


def test_a_key_that_takes_for_ever_to_hash_is_refused(tmp_path):
    doubled = b"N" + b"q\x00h\x00\x86" * 200
    path = archive(tmp_path / "a.pt", b"}" + doubled + b"Ns")
    with pytest.raises(ValueError, match="tuple as key"):
        read(path)


def test_a_member_that_is_there_twice_is_refused(tmp_path):
    path = archive(tmp_path / "a.pt", {"a": tensor()})
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning):
        file.writestr("x/data/0", bytes(16))
    with pytest.raises(ValueError, match="twice"):
        read(path)


def test_a_member_that_unpacks_to_much_more_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x/data.pkl", bytes(1 << 27))
    with pytest.raises(ValueError, match="larger than declared"):
        read(path)


def test_an_archive_that_ends_in_a_checkpoint_is_none(tmp_path):
    whole = archive(tmp_path / "a.pt", {"a": tensor()}).read_bytes()
    path = tmp_path / "b.pt"
    path.write_bytes(b"PK\x03\x04" + bytes(60) + whole)
    with pytest.raises(ValueError, match="in front"):
        read(path)
