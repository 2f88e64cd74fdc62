"""Times reading a checkpoint without and with PyTorch, and fetching; prints only.

    python -m benchmarks.pipelines.fetch [--quick] [--torch PYTHON] [--json FOLDER]

The checkpoint has MTU10_L's tensors, with random values. Each way of reading it is a
process of its own, its start included; they alternate. `--torch` names the interpreter
of an environment with PyTorch, by default this one. The archive is as large as the
authors' one of all networks, and comes from a server on the loopback address, also a
process of its own, whose CPU time does not count.
"""

import argparse
import collections
import contextlib
import importlib.util
import math
import os
import pathlib
import pickle
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import typing
import zipfile
from unittest import mock

import numpy as np

from benchmarks.helpers import record
from benchmarks.helpers.runs import peak_memory
from mtujax.common.hardware import load_average
from mtujax.config import PRESETS
from mtujax.fetch import fetch_weights
from mtujax.fetch.download import download
from mtujax.model.network import expected_shapes
from mtujax.weights.convert import torch_names

SIZE = 300_000_000  # of the archive: three of each network, LiteFlowNet
WAYS = {
    "mtujax": """
import sys
from mtujax.weights.torch_reader import read_checkpoint
tensors, _ = read_checkpoint(sys.argv[1])
""",
    "PyTorch": """
import sys, torch
tensors = torch.load(sys.argv[1], weights_only=True)
""",
}
TOUCHED = "assert sum(float(value.sum()) for value in tensors.values())\n"
SERVER = """
import functools, http.server, sys
class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_): pass
handler = functools.partial(Silent, directory=sys.argv[1])
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


def main():
    args = arguments()
    load = load_average()
    results = {"machine": record.machine_printed(), "load": load}
    print(f"load before: {load:.2f}", flush=True)
    preset, rounds, size = (
        ("mtu1", 1, 9_000_000) if args.quick else ("mtu10_l", 5, SIZE)
    )
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        checkpoint = write_checkpoint(folder / "checkpoint", preset)
        results["reading"] = reading(checkpoint, args.torch, rounds)
        archive = write_archive(folder / "served" / "all.zip", checkpoint, preset, size)
        results["fetching"] = fetching(archive, preset, min(rounds, 3))
    record.write(results, "fetch-quick" if args.quick else "fetch", args.json)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small, to see it run")
    parser.add_argument("--torch", metavar="PYTHON", help="that has PyTorch")
    record.add_json(parser)
    args = parser.parse_args()
    if args.torch is None and importlib.util.find_spec("torch"):
        args.torch = sys.executable
    return args


def reading(checkpoint, torch, rounds):
    """Medians of seconds, CPU seconds and peak MB of each way."""
    interpreters = {"mtujax": sys.executable, "PyTorch": torch}
    runs = {name: [] for name, python in interpreters.items() if python}
    if torch is None:
        print("PyTorch: not installed; --torch PYTHON names where it is", flush=True)
    for _ in range(rounds + 1):  # the first brings everything into the system's cache
        for name, found in runs.items():
            with timed() as took:
                code, python = WAYS[name] + TOUCHED, interpreters[name]
                took["peak MB"] = peak_memory(code, checkpoint, python=python)
            found.append(took)
    rows = {name: medians(found[1:]) for name, found in runs.items()}
    for name, row in rows.items():
        show(f"{name} reads {checkpoint.stat().st_size / 1e6:.0f} MB", row)
    return rows


def fetching(archive, preset, rounds):
    """Medians of a download, and of the whole way to a weights file."""
    size, runs = archive.stat().st_size / 1e6, {"download": [], "whole": []}
    with serving(archive.parent) as url, tempfile.TemporaryDirectory() as name:
        source = f"{url}/{archive.name}"
        for number in range(rounds):
            cache = pathlib.Path(name, str(number))
            with timed() as took:
                download(source, pathlib.Path(name, "archive"))
            runs["download"].append(took | {"MB/s": size / took["s"]})
            with (
                timed() as took,
                mock.patch.dict("os.environ", MTUJAX_CACHE=str(cache)),
            ):
                fetch_weights([f"{preset}-gopro"], source=source, accept_licence=True)
            runs["whole"].append(took)
            shutil.rmtree(cache)
    rows = {name: medians(found) for name, found in runs.items()}
    show(f"download of {size:.0f} MB", rows["download"])
    show(f"download, unpacking and conversion of {preset}", rows["whole"])
    return {"MB": size, **rows}


@contextlib.contextmanager
def timed():
    """A dict that has the seconds and CPU seconds of a block, once it has ended."""
    took, started, cpu = {}, time.perf_counter(), cpu_seconds()
    yield took
    took |= {"s": time.perf_counter() - started, "CPU s": cpu_seconds() - cpu}


def cpu_seconds():
    """CPU time of this process, and of those it waited for."""
    used = os.times()
    return sum(used[:4])


def medians(runs):
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def show(what, row):
    print(f"{what}: " + ", ".join(f"{v:.3g} {k}" for k, v in row.items()), flush=True)


@contextlib.contextmanager
def serving(folder):
    """The URL of a folder that another process serves."""
    command = [sys.executable, "-c", SERVER, folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        finally:
            server.terminate()


def write_archive(path, checkpoint, preset, size):
    """An archive in the authors' layout of one checkpoint, and as much as they have."""
    path.parent.mkdir(exist_ok=True)
    rest = size - checkpoint.stat().st_size
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(checkpoint, f"ckpt/{preset.upper()}_GoPro.pytorch")
        archive.writestr("ckpt/others", np.random.default_rng(0).bytes(rest))
    return path


def write_checkpoint(path, preset):
    """A state dict as `torch.save` writes it, without PyTorch."""
    config, rng, values = PRESETS[preset], np.random.default_rng(0), []
    shapes, content = expected_shapes(config), collections.OrderedDict()
    for name, (place, axes) in torch_names(config).items():
        shape = tuple(shapes[place][axis] for axis in np.argsort(axes))
        content[f"module.Network.{name}"] = _Stored(len(values), shape)
        values.append(rng.normal(0, 0.01, shape).astype("<f4"))
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("archive/data.pkl", "w") as file:
            _Pickler(file, 2).dump(content)
        archive.writestr("archive/byteorder", "little")
        for key, value in enumerate(values):
            archive.writestr(f"archive/data/{key}", value.tobytes())
        archive.writestr("archive/version", "3\n")
    return path


class _Named:
    """A global of PyTorch, of which only the name is written."""

    def __init__(self, module, name):
        self.line = f"c{module}\n{name}\n".encode()

    def __call__(self):
        """Is never called; a pickle wants what could be."""


_REBUILD = _Named("torch._utils", "_rebuild_tensor_v2")
_FLOATS = _Named("torch", "FloatStorage")


class _Storage(typing.NamedTuple):
    """Values in the member `data/KEY`."""

    key: int
    size: int


class _Stored(typing.NamedTuple):
    """A tensor of all values of a storage."""

    key: int
    shape: tuple[int, ...]

    def __reduce__(self):
        sizes = [math.prod(self.shape[axis:]) for axis in range(len(self.shape) + 1)]
        storage, none = _Storage(self.key, sizes[0]), collections.OrderedDict()
        return _REBUILD, (storage, 0, self.shape, tuple(sizes[1:]), False, none)


class _Pickler(pickle._Pickler):  # the one in C imports each global that it names
    """Writes tensors and globals as `torch.save` does."""

    def persistent_id(self, value):
        if isinstance(value, _Storage):
            return ("storage", _FLOATS, str(value.key), "cpu", value.size)
        return None

    def save(self, value, save_persistent_id=True):
        if isinstance(value, _Named):
            self.write(value.line)
        else:
            super().save(value, save_persistent_id)


if __name__ == "__main__":
    main()
