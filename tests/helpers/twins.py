"""The PyTorch twin with parameters drawn at random; needs torch."""

import recordings
import torch

from mtujax.torch_port.network import TorchMTUNet


def random_twin(config, *, training_layers=False, **options):
    twin = TorchMTUNet(config, training_layers=training_layers, **options)
    shapes = {name: value.shape for name, value in twin.state_dict().items()}
    tensors = recordings.rebuild(shapes, seed=1, scale=0.08)
    # Kernels of mean 0 answer to texture only, so that its motion is found.
    for value in tensors.values():
        if value.ndim == 4:
            value -= value.mean((2, 3), keepdims=True)
    twin.load_state_dict({n: torch.from_numpy(v) for n, v in tensors.items()})
    return twin, tensors
