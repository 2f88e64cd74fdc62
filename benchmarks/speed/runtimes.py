"""Times a whole step in JAX, PyTorch, onnxruntime and OpenVINO in turn, on CPU cores.

    python -m benchmarks.speed.runtimes [--sizes 640x360 1280x720] [--weights fast ...]
        [--runtimes JAX onnxruntime ...] [--rounds 7] [--json FOLDER]

From 8-bit frames to 8-bit frames, float32, and OpenVINO also in bfloat16 where the
processor has it, and with convolutions in int8 where onnxruntime is there to quantize
them. A runtime that is not installed is left out, and named. Frames are
random: they do not change the work done.
"""

import argparse
import importlib.util
import tempfile
from pathlib import Path

import jax
import numpy as np
import onnx

from benchmarks.helpers import record
from benchmarks.helpers.runs import compare
from benchmarks.speed.core import show
from mtujax.bench.timing import Network
from mtujax.deploy.onnx_file import make_onnx
from mtujax.model.optimized_form import inference_form
from mtujax.video import parse_size
from mtujax.weights import load

BFLOAT16 = "OpenVINO bfloat16"
LIBRARIES = {
    "JAX": "jax",
    "PyTorch": "torch",
    "onnxruntime": "onnxruntime",
    "OpenVINO": "openvino",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes, weights = ["640x360", "1280x720"], ["fast"]
    parser.add_argument("--sizes", nargs="+", type=parse_size, default=sizes)
    parser.add_argument("--weights", nargs="+", default=weights)
    runtimes = {"choices": LIBRARIES, "default": list(LIBRARIES)}
    parser.add_argument("--runtimes", nargs="+", **runtimes)
    parser.add_argument("--rounds", type=int, default=7)
    record.add_json(parser)
    args = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    results = {"machine": record.machine_printed(), "runtimes": versions(), "steps": []}
    print(" | ".join(f"{k} {v}" for k, v in results["runtimes"].items()))
    sizes = [parse_size(s) if isinstance(s, str) else s for s in args.sizes]
    for name in args.weights:
        for width, height in sizes:
            row = compare(runners(name, height, width, args.runtimes), args.rounds)
            size = f"{width}x{height}"
            results["steps"].append({"weights": name, "size": size, **row})
            show(f"{name} {size}", row)
            record.keep(results, "runtimes", args.json)
    record.write(results, "runtimes", args.json)


def versions():
    """Of each runtime; "not installed" of one that is left out."""
    found = {}
    for name in LIBRARIES.values():
        there = importlib.util.find_spec(name) is not None
        module = importlib.import_module(name) if there else None
        found[name] = module.__version__ if there else "not installed"
    return found


def runners(name, height, width, runtimes):
    """{runtime: function that restores one frame}; each carries its state on."""
    model, params = load(name)
    shape = (1, height, width, 3)
    frame = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    installed = versions()
    there = {r for r in runtimes if installed[LIBRARIES[r]] != "not installed"}
    found = {}
    if "JAX" in there:
        network = Network(*inference_form(model, params), shape)
        found["JAX"] = of_subject(network, frame)
    if "PyTorch" in there:
        from benchmarks.speed.speed_twin import make_twin

        found["PyTorch"] = of_subject(make_twin(model.config, params, shape), frame)
    cell = model.config.cell
    padded = [-(-n // cell) * cell for n in (width, height)]
    step = make_onnx(model, params, size=tuple(padded))
    window = np.random.default_rng(0).integers(
        0, 256, (model.config.window, *padded[::-1], 3), np.uint8
    )
    if "onnxruntime" in there:
        found["onnxruntime"] = of_step(step, in_onnxruntime(step), window)
    if "OpenVINO" in there:
        for title, precision in (("OpenVINO", "f32"), (BFLOAT16, "bf16")):
            if title != BFLOAT16 or has_bfloat16():
                found[title] = of_step(step, in_openvino(step, precision), window)
    if {"onnxruntime", "OpenVINO"} <= there:
        int8 = quantized(step, {"window": window, **first_state(step)})
        found["OpenVINO int8"] = of_step(int8, in_openvino(int8, "f32"), window)
    return found


def of_subject(subject, frame):
    there = subject.put(frame)
    return lambda: subject.wait(subject.step(there))


def of_step(step, run, window):
    """Calls an exported step again and again, with the state that it returns."""
    state = first_state(step)

    def once():
        found = run({"window": window, **state})
        state.update({name: found[f"next_{name[6:]}"] for name in state})

    return once


def first_state(step):
    state = {}
    for value in step.graph.input[1:]:
        kind = value.type.tensor_type
        dtype = bool if value.name == "state_is_first" else np.float32
        state[value.name] = np.full([d.dim_value for d in kind.shape.dim], True, dtype)
    return state


def quantized(step, inputs):
    """With convolutions in int8, whose ranges are those of one frame."""
    from onnxruntime import quantization

    class Once(quantization.CalibrationDataReader):
        frames = iter([inputs])

        def get_next(self):
            return next(self.frames, None)

    with tempfile.TemporaryDirectory() as folder:
        given, made = (Path(folder) / f"{name}.onnx" for name in ("given", "made"))
        onnx.save(step, given)
        quantization.quantize_static(
            given,
            made,
            Once(),
            activation_type=quantization.QuantType.QUInt8,
            per_channel=True,
            op_types_to_quantize=["Conv", "ConvTranspose"],
        )
        return onnx.load(made)


def in_onnxruntime(step):
    import onnxruntime

    session = onnxruntime.InferenceSession(
        step.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(None, inputs), strict=True))


def in_openvino(step, precision):
    from mtujax.deploy.openvino_stream import compiled_file

    compiled = compiled_file(step.SerializeToString(), precision)

    def run(inputs):
        found = compiled(inputs)
        return {name: found[v] for v in compiled.outputs for name in v.names}

    return run


def has_bfloat16():
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and "bf16" in flags.read_text()


if __name__ == "__main__":
    main()
