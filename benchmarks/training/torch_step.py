"""A training step of the PyTorch twin: the baseline of `train.py`, imported late.

The same mathematics as `mtujax.training.step.clip_step`, written the way PyTorch is
fast: gradients frame by frame, and only of the parameters that an optimiser owns.
Letters: B batch, T time, L frames given, H W pixels, h w motion grid, C channels, r
radius.
"""

import contextlib

import einops
import flax.traverse_util
import numpy as np
import torch
import torch.nn.functional as F

from mtujax.model.network import inference_params
from mtujax.torch_port.layers import displacement_from_class
from mtujax.torch_port.network import TorchMTUNet
from mtujax.training.optimizers import loss_weights
from mtujax.weights.convert import from_params

TILE = 32  # columns per band
POOL = 5


class Twin(TorchMTUNet):
    """The twin with a cost volume that is made once a frame, and fast.

    The one of `torch_ops` takes 441 small steps, and the arg-max computes it again:
    plainly right, but no fair opponent.
    """

    def _match(self, state, motions, train):
        radius, query = self.config.search_radius, motions[-1]
        key = self._or_initial(state, state.motion[len(motions) - 1], query)
        with torch.autocast(query.device.type, enabled=False):
            volume = cost_volume(query, key, radius)
        displacement = displacement_from_class(volume.argmax(dim=-1), radius=radius)
        return displacement, volume


def cost_volume(query, key, radius):
    """Pooled cosine similarity [B, h, w, D] of two [B, C, h, w], a row at a time."""
    height, width = query.shape[-2:]
    side, tile = 2 * radius + 1, min(TILE, width)
    missing = -width % tile
    query, key = (F.normalize(x.float(), dim=1, eps=1e-12) for x in (query, key))
    query = F.pad(query, (0, missing))
    query = einops.rearrange(query, "b c h (n t) -> b h n t c", t=tile)
    key = F.pad(key, (radius, radius + missing, radius, radius))
    bands = key.unfold(-1, tile + side - 1, tile)
    bands = einops.rearrange(bands, "b c v n u -> b v n c u").contiguous()
    rows = []
    for dy in range(side):
        product = query @ bands[:, dy : dy + height]
        # The wanted scores lie on diagonals, which one more column per row straightens.
        flat = F.pad(product.flatten(-2), (0, tile))
        scores = flat.unflatten(-1, (tile, tile + side))[..., :side]
        planes = einops.rearrange(scores, "b h n t d -> b d h (n t)")[..., :width]
        rows.append(F.avg_pool2d(planes, POOL, 1, POOL // 2))
    return einops.rearrange(torch.cat(rows, dim=1), "b d h w -> b h w d")


class TorchStep:
    """Updates the twin's weights from one batch, again and again."""

    def __init__(self, model_config, train_config, params, *, channels_last=False):
        """Starts from the parameters of our network, on the GPU if PyTorch has one."""
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.config = train_config
        self.twin = Twin(model_config, training_layers=True)
        self.twin.load_state_dict(state_dict(params, model_config))
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.twin = self.twin.to(self.device).to(memory_format=layout)
        self.layout = layout
        self.half = model_config.dtype != "float32"
        self.dtype = getattr(torch, model_config.dtype)
        named = dict(self.twin.named_parameters())
        last = f"HGs.{model_config.num_units - 1}."
        owned = {
            "total": list(named),
            "deblur": [n for n in named if not n.startswith("motion_layer")],
            "motion": [
                n for n in named if not n.startswith((last, "out.", "deblur_layer"))
            ],
        }
        self.weights = loss_weights(train_config)
        self.owned = {name: [named[n] for n in owned[name]] for name in self.weights}
        rate = train_config.learning_rate
        rates = {"motion": train_config.motion_weight * rate}
        self.optimizers = {
            name: torch.optim.Adam(values, rates.get(name, rate), fused=True)
            for name, values in self.owned.items()
        }
        self.parameters = list(named.values())
        self.ema = [value.detach().clone() for value in self.parameters]
        self.steps = 0

    def to_device(self, batch):
        """Tensors of a batch of arrays, where the step wants them."""
        return {
            name: torch.from_numpy(np.array(value)).to(self.device)
            for name, value in batch.items()
        }

    def __call__(self, batch):
        """All updates from a batch of `to_device`; the means of both losses."""
        config, seen = self.twin.config, []
        time, (height, width) = batch["sharp"].shape[1], batch["sharp"].shape[2:4]
        each = self.config.frames_per_update or time
        state = self.twin.initial_state(len(batch["sharp"]), height, width)
        for start in range(0, time, each):
            grads = {name: None for name in self.owned}
            for t in range(start, start + each):
                window = batch["blurry"][:, t : t + config.window]
                target = {k: v[:, t] for k, v in batch.items() if k != "blurry"}
                state, losses = self._losses(state, window, target)
                self._add_gradients(grads, losses, each)
                seen.append(torch.stack([x.detach() for x in losses.values()]))
            self._update(grads)
        return dict(zip(losses, torch.stack(seen).mean(dim=0), strict=True))

    def _losses(self, state, window, target):
        half = contextlib.nullcontext()
        if self.half:
            half = torch.autocast(self.device, dtype=self.dtype)
        with half:
            state, outputs = self.twin(state, window, True)
        release = self.config.scheme == "release"

        def error(difference):
            absolute = difference.abs().mean()
            return absolute + difference.square().mean() if release else absolute

        deblur = error(outputs["restored"] - target["sharp"])
        others = outputs["intermediate"]
        if others.shape[1]:
            count = 1 if release else others.shape[1]
            deblur = deblur + 0.1 * count * error(others - target["sharp"][:, None])
        logits = outputs["cost_volume"].flatten(0, 1)
        units = outputs["cost_volume"].shape[1]
        classes = target["motion"].long().repeat_interleave(units, dim=0)
        valid = target["motion_valid"].repeat_interleave(units, dim=0)
        entropy = F.cross_entropy(
            logits.flatten(0, 2), classes.flatten(), reduction="none"
        )
        motion = (entropy * valid.flatten()).sum() / valid.sum().clamp(min=1)
        return state, {"deblur": deblur, "motion": motion}

    def _add_gradients(self, grads, losses, count):
        names = list(self.owned)
        for name in names:
            total = sum(w * losses[loss] for loss, w in self.weights[name].items())
            found = torch.autograd.grad(
                total / count,
                self.owned[name],
                retain_graph=name != names[-1],
                allow_unused=True,
                materialize_grads=True,
            )
            if grads[name] is None:
                grads[name] = list(found)
            else:
                torch._foreach_add_(grads[name], found)

    def _update(self, grads):
        for name, optimizer in self.optimizers.items():
            for value, grad in zip(self.owned[name], grads[name], strict=True):
                value.grad = grad
            torch.nn.utils.clip_grad_norm_(self.owned[name], self.config.clip_norm)
            optimizer.step()
        decay = min(self.config.ema_decay, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            torch._foreach_lerp_(self.ema, self.parameters, 1 - decay)
        self.steps += 1


def state_dict(params, config):
    """The twin's tensors of our parameters, training-only layers and all."""
    tensors = from_params(inference_params(params), config)
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    for i in range(config.num_units - 1):
        layer = f"unit_{i}/deblur/layer/conv"
        kernel = np.transpose(flat[f"{layer}/kernel"], (3, 2, 0, 1))
        tensors[f"deblur_layer.{i}.weight"] = kernel
        tensors[f"deblur_layer.{i}.bias"] = flat[f"{layer}/bias"]
    return {name: torch.from_numpy(np.array(v)) for name, v in tensors.items()}
