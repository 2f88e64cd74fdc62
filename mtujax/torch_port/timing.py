"""The PyTorch twin as a subject of timing; imported late: needs torch.

It does what `bench.timing.Network` does, from 8-bit frames to 8-bit frames, with the
settings with which PyTorch is fastest: no gradients, either memory layout, and on a GPU
the kernels that cuDNN finds best. Letters: B batch, H W pixels.
"""

import collections
from typing import Any

import numpy as np
import torch

from mtujax.config import ModelConfig
from mtujax.torch_port.network import TorchMTUNet

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
"""Memory layouts of the twin's arrays."""


class Twin:
    """The twin run frame by frame, on a GPU if any; a `bench.timing.Subject`."""

    def __init__(
        self,
        config: ModelConfig,
        tensors: dict[str, np.ndarray],
        shape: tuple[int, int, int, int],
        layout: str = "contiguous",
    ):
        """Makes the network for frames of a shape (B, H, W, 3)."""
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.backends.cudnn.benchmark = True
        twin = TorchMTUNet(config)
        twin.load_state_dict(
            {name: torch.from_numpy(value.copy()) for name, value in tensors.items()}
        )
        dtype = getattr(torch, config.dtype)
        twin = twin.to(self.device, dtype, memory_format=LAYOUTS[layout])
        self._twin = twin.eval()
        # One state for frames in separate stages and one for whole frames.
        self._states = [twin.initial_state(*shape[:3]) for _ in range(2)]
        self._windows = [collections.deque(maxlen=config.window) for _ in range(2)]

    def put(self, frame: np.ndarray) -> torch.Tensor:
        """Copies frame [B, H, W, 3] uint8 to the device."""
        return torch.from_numpy(np.array(frame)).to(self.device)

    def step(self, frame: torch.Tensor) -> torch.Tensor:
        """Restores the next frame; `frame` [B, H, W, 3] enters the window."""
        return self._step(frame, 0)

    def get(self, restored: torch.Tensor) -> np.ndarray:
        """Copies the restored frame [B, H, W, 3] to the host."""
        return restored.cpu().numpy().copy()

    def push(self, frame: np.ndarray) -> np.ndarray:
        """Takes frame [B, H, W, 3] and returns a restored one, both on the host."""
        return self.get(self._step(self.put(frame), 1))

    def wait(self, value: Any) -> None:
        """Returns once the device has done everything, so `value` is computed."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    @torch.inference_mode()
    def _step(self, frame, place):
        window = self._windows[place]
        # As at the start of a video, whose first frame is repeated.
        window.extend([frame] * max(window.maxlen - len(window), 1))
        stacked = torch.stack(tuple(window), dim=1).float() / 255
        self._states[place], outputs = self._twin(self._states[place], stacked)
        restored = outputs["restored"].clamp(0, 1) * 255
        return restored.round().to(torch.uint8)
