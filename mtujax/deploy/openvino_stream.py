"""A stream whose network runs in OpenVINO, which is quicker than JAX on CPU cores.

Imported late: needs openvino and onnx. Letters: H W pixels, h w motion grid, C
channels.
"""

import functools

import jax
import numpy as np
import openvino

from mtujax.config import ModelConfig
from mtujax.deploy.onnx_file import make_onnx
from mtujax.model.network import MTUNet, RecurrentState
from mtujax.model.optimized_form import least_cells
from mtujax.model.stream import Stream
from mtujax.ops.resampling import padded_size


class OpenVinoStream(Stream):
    """`Stream` of frames [H, W, 3] for which there is no `refusal`.

    The network is an inference form; its displacement is not returned. Snapshots are
    those of `Stream`, and can be resumed by either.
    """

    _size = None  # for which it is compiled
    _state_tensors: dict[str, openvino.Tensor] | None = None  # after the latest step

    @staticmethod
    def refusal(config: ModelConfig, shape: tuple[int, ...], dtype) -> str | None:
        """Why it does not take frames of a shape and dtype, or None."""
        least = config.cell * least_cells(config)
        if dtype == np.uint8 and min(shape[:2]) >= least:
            return None
        return f"OpenVINO takes 8-bit frames here, of {least}x{least} or more"

    def snapshot(self) -> dict[str, np.ndarray]:
        """As `Stream.snapshot`."""
        if self._state_tensors is not None:
            arrays = {k: _nhwc(v.data) for k, v in self._state_tensors.items()}
            self._state = RecurrentState.of_arrays(arrays)
        return super().snapshot()

    def _start(self):
        super()._start()
        self._state_tensors = None

    def _begin(self, kind):
        super()._begin(kind)
        _, height, width, _ = kind.batched
        size = padded_size(height, width, self._model.config.cell)
        if size == self._size:  # as before a cut
            return
        self._size, compiled = size, _compiled(self._model, self._params, size)
        # They take turns, so that one reads the state where the other has left it.
        self._requests = [compiled.create_infer_request() for _ in range(2)]
        self._inputs = {name for port in compiled.inputs for name in port.names}

    def _run(self, window):
        frames = np.concatenate(window)
        _, height, width, _ = frames.shape
        rows, columns = self._size
        pads = [(0, 0), (0, rows - height), (0, columns - width), (0, 0)]
        frames = np.pad(frames, pads, mode="reflect")
        state = self._state_tensors
        if state is None:
            arrays = self._state.as_arrays()
            state = {k: openvino.Tensor(_nchw(v)) for k, v in arrays.items()}
        request = self._requests[0]
        request.set_tensor("window", openvino.Tensor(frames, shared_memory=True))
        for name, value in state.items():
            if f"state_{name}" in self._inputs:  # as not, where nothing reads it
                request.set_tensor(f"state_{name}", value)
        try:
            request.infer()
        except RuntimeError as error:
            if "alloc" in str(error):
                raise MemoryError(str(error)) from error
            raise
        self._state_tensors = {k: request.get_tensor(f"next_{k}") for k in state}
        self._requests.reverse()
        restored = request.get_tensor("restored").data[None, :height, :width]
        return jax.device_put(np.array(restored)), None


def _compiled(model: MTUNet, params: dict, size):
    """The step for padded frames of (H, W): open sizes take a quarter longer."""
    step = make_onnx(model, params, size=size[::-1])
    return compiled_file(step.SerializeToString(deterministic=True))


@functools.lru_cache(maxsize=2)  # of many videos, once per size
def compiled_file(data: bytes, precision: str = "f32") -> openvino.CompiledModel:
    """A .onnx file for CPU cores."""
    core = openvino.Core()
    hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    return core.compile_model(core.read_model(data), "CPU", hints)


def _nchw(array):
    array = np.asarray(array)
    return np.ascontiguousarray(np.moveaxis(array, -1, 1)) if array.ndim > 1 else array


def _nhwc(array):
    return np.moveaxis(array, 1, -1) if array.ndim > 1 else array
