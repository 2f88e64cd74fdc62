"""The PyTorch twin as fast as PyTorch gets it; imported late: needs torch."""

import torch
from torch.utils._pytree import tree_map

from mtujax.torch_port.timing import Twin
from mtujax.weights.convert import from_params


def make_twin(config, params, shape, *, compiled=False):
    """A subject of timing: channels last, the banded matcher, cuDNN's best kernels."""
    kind = CompiledTwin if compiled else Twin
    return kind(config, from_params(params, config), shape, "channels_last")


class CompiledTwin(Twin):
    """The twin through `torch.compile(mode="max-autotune")`, CUDA graphs and all."""

    def __init__(self, *args, mode="max-autotune"):
        """Takes what `Twin` takes, and another mode to try it out without a GPU."""
        super().__init__(*args)
        self._twin = torch.compile(self._twin, mode=mode)

    def _step(self, frame, place):
        torch.compiler.cudagraph_mark_step_begin()
        restored = super()._step(frame, place)
        # The next call writes over what this one returned, and reads it too.
        self._states[place] = tree_map(torch.clone, self._states[place])
        return restored
