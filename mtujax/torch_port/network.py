"""The same network in PyTorch: oracle of the parity tests and baseline of benchmarks.

Written from the paper and the released checkpoints' tensor names, which its parameters
carry, so `load_state_dict(strict=True)` accepts a released state dict. Arrays that come
in or go out are laid out as in `network.py`; inside they are NCHW. Imported late: needs
torch. Letters: B batch, T time, K window, H W pixels, H' W' the same rounded up to
multiples of 4p, p side of a patch, h w motion grid (H' / 4p, W' / 4p), C channels.
Images are in [0, 1].
"""

import functools
from typing import Literal, NamedTuple

import einops
import torch
import torch.nn.functional as F
from torch import nn

from mtujax.config import EXPOSURE_FREQUENCIES, LEAKY_SLOPE, MOTION_STRIDE, ModelConfig
from mtujax.torch_port.layers import (
    cost_volume,
    displace,
    match_banded,
    match_loop,
    pad_frames,
    space_to_depth,
)
from mtujax.torch_port.motion_samples import (
    FILTER_SCALE,
    blended,
    steered_channels,
    steered_input,
)


class TwinState(NamedTuple):
    """What a frame passes to the next one; detached from the gradient."""

    # per matching unit, its motion features [B, 2C, h, w], or [B, C, h, w] without a
    # motion layer
    motion: tuple[torch.Tensor, ...]
    detail: torch.Tensor  # detail features of the last unit [B, C, H' / p, W' / p]
    # restored frame [B, 3, H', W'] float32; in [0, 1] except in training
    restored: torch.Tensor
    is_first: torch.Tensor  # bool [B]; True where the next frame starts a video


class DetailNetwork(nn.Module):
    """F^n: a U-Net whose output both tasks share."""

    def __init__(self, config: ModelConfig):
        """Makes the layers."""
        super().__init__()
        c, conv = config.channels, functools.partial(_conv, config.activation)
        first = config.first_kernel
        self.enc1 = conv(2 * c, c, first, padding=first // 2)
        self.enc2 = conv(c, c, 3, stride=2)
        self.enc3 = conv(c, 2 * c, 3, stride=2)
        self.RBs = nn.ModuleList(
            nn.Sequential(*conv(2 * c, 2 * c, 3), *conv(2 * c, 2 * c, 3))
            for _ in range(config.num_blocks)
        )
        self.RB_end = conv(2 * c, 2 * c, 3)
        up = {"layer": nn.ConvTranspose2d, "padding": 1, "stride": 2}
        self.dec1 = conv(2 * c, c, 4, **up)
        self.dec2 = conv(c, c, 4, **up)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps x [B, 2C, H, W] to detail features [B, C, H, W]; H, W multiples of 4."""
        full = self.enc1(x)
        half = self.enc2(full)
        entry = y = self.enc3(half)
        for block in self.RBs:
            y = y + block(y)
        y = entry + self.RB_end(y)
        return full + self.dec2(half + self.dec1(y))


class TorchMTUNet(nn.Module):
    """The whole network, applied to one frame.

    `.to(dtype)` sets the compute precision (`config.dtype` is not read); images are
    float32 and displacements are determined in float32 in any case.

    Examples:
        >>> network = TorchMTUNet(model.config)
        >>> window = torch.rand(1, model.config.window, 24, 32, 3)
        >>> state, outputs = network(network.initial_state(1, 24, 32), window)
        >>> tuple(outputs["restored"].shape)
        (1, 24, 32, 3)
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        implementation: Literal["banded", "loop"] = "banded",
        training_layers: bool = False,
    ):
        """Makes the layers, with weights of standard deviation 0.03 and biases 0.

        Args:
            config: sizes and switches.
            implementation: the matcher, `match_banded` or `match_loop`.
            training_layers: also make the deblur layers that only training reads.

        Raises:
            ValueError: if `implementation` is unknown.
        """
        super().__init__()
        if implementation not in ("banded", "loop"):
            raise ValueError(
                f"implementation={implementation!r}: must be 'banded' or 'loop'"
            )
        c, units, image = config.channels, config.num_units, 3 * config.patch**2
        conv = functools.partial(_conv, config.activation)
        steered = steered_channels(config)
        out = image + config.filter_taps + config.blend_shares
        self.config = config
        self.match = match_banded if implementation == "banded" else match_loop
        self.base_conv = conv(image, c, 3)
        self.inp_prev_conv = conv(image * config.window, c, 3)
        if steered:
            self.inp_steered = nn.Conv2d(steered, c, 1)
        self.HGs = nn.ModuleList(DetailNetwork(config) for _ in range(units))
        self.motion_layer = nn.ModuleList(
            conv(c, 2 * c, 5, stride=MOTION_STRIDE)
            for _ in (config.matching_units if config.motion_layer else ())
        )
        self.deblur_layer = nn.ModuleList(
            nn.Conv2d(2 * c, out, 3, padding=1)
            for _ in range(units - 1 if training_layers else 0)
        )
        last = 2 * c if config.last_unit_reads_warped else c
        self.out = nn.Conv2d(last, out, 3, padding=1)
        if config.exposure_spectrum:
            self.out_exposure = nn.Linear(
                EXPOSURE_FREQUENCIES, config.filter_taps, bias=False
            )
        for name, value in self.named_parameters():
            nn.init.normal_(value, std=0.03 if name.endswith("weight") else 0.0)

    def initial_state(self, batch: int, height: int, width: int) -> TwinState:
        """Makes the recurrent state before the first frame of `batch` videos [H, W]."""
        cfg, like = self.config, self.out.weight
        rows, columns = (-(-n // cfg.cell) for n in (height, width))
        full = (rows * cfg.cell, columns * cfg.cell)
        places = (rows * MOTION_STRIDE, columns * MOTION_STRIDE)
        channels = cfg.channels * (2 if cfg.motion_layer else 1)
        return TwinState(
            motion=tuple(
                like.new_zeros((batch, channels, rows, columns))
                for _ in cfg.matching_units
            ),
            detail=like.new_zeros((batch, cfg.channels, *places)),
            restored=like.new_zeros((batch, 3, *full), dtype=torch.float32),
            is_first=torch.ones(batch, dtype=torch.bool, device=like.device),
        )

    def forward(
        self, state: TwinState, window: torch.Tensor, train: bool = False
    ) -> tuple[TwinState, dict[str, torch.Tensor]]:
        """Restores the current frame of `window`.

        Args:
            state: of the previous frame, or `initial_state`.
            window: [B, K, H, W, 3] blurry frames, float32 in [0, 1], oldest first.
            train: also return what only the losses read (needs `training_layers`), and
                feed the frame back without clamping it to [0, 1].

        Returns:
            The next state, and `restored`, `displacement`, `intermediate` and
            `cost_volume` as `MTUNet` returns them.
        """
        height, width = window.shape[2:4]
        window = pad_frames(window, self.config.cell)
        blurry = window[:, self.config.lookback]
        restored = self._restored_before(state, window)
        along, spectrum, moved, steered = steered_input(window, restored, self.config)
        structure, x = self._input_features(window, restored, steered)
        guides = along, moved, state.is_first
        motions, volumes, images, displacement = [], [], [], None
        for i, network in enumerate(self.HGs):
            detail = network(x)
            if i in self.config.matching_units:
                motions.append(self._motion_features(len(motions), structure, detail))
                displacement, volume = self._match(state, motions, train)
                volumes.append(volume)
            last = i == len(self.HGs) - 1
            x = detail
            if not last or self.config.last_unit_reads_warped:
                x = self._with_warped(state, detail, displacement)
            if train and not last:
                images.append(self._image(self.deblur_layer[i], x, blurry, guides))
        usual = None if spectrum is None else self.out_exposure(spectrum)
        images.append(self._image(self.out, x, blurry, guides, usual))
        outputs = _outputs(images, displacement, volumes, (height, width), train)
        return _next_state(state, motions, detail, images[-1], train), outputs

    @torch.no_grad()
    def restore_clip(
        self, frames: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Restores every frame of a batch of clips, windows clamped at both ends.

        Args:
            frames: [B, T, H, W, 3] blurry frames, float32 in [0, 1].

        Returns:
            The restored frames [B, T, H, W, 3] float32, not clamped, and the
            displacements [B, T, h, w, 2] int64, None without motion compensation.
        """
        batch, time, height, width, _ = frames.shape
        state = self.initial_state(batch, height, width)
        reach = range(-self.config.lookback, self.config.lookahead + 1)
        steps = []
        for t in range(time):
            window = frames[:, [min(max(t + k, 0), time - 1) for k in reach]]
            state, outputs = self(state, window)
            steps.append(outputs)
        restored = torch.stack([s["restored"] for s in steps], dim=1)
        if not self.config.matching_units:
            return restored, None
        return restored, torch.stack([s["displacement"] for s in steps], dim=1)

    def _restored_before(self, state, window):
        """The previous restored frame; where a video starts, the blurry one."""
        blurry = window[:, self.config.lookback - 1]
        return torch.where(_per_video(state.is_first), blurry, state.restored)

    def _input_features(self, window, restored, steered):
        """Structure features [B, C, H' / p, W' / p], the first unit's input with 2C."""
        back, dtype = self.config.lookback, self.out.weight.dtype
        past, future = window[:, :back].unbind(1), window[:, back + 1 :].unbind(1)
        images = torch.cat([*past, restored, *future], dim=1)
        patch = self.config.patch
        blurry = space_to_depth(window[:, back], patch)
        structure = self.base_conv(blurry.to(dtype))
        layer, activation = self.inp_prev_conv
        temporal = layer(space_to_depth(images, patch).to(dtype))
        if steered is not None:
            temporal = temporal + self.inp_steered(steered.to(dtype))
        temporal = activation(temporal)
        return structure, torch.cat([structure, temporal], dim=1)

    def _motion_features(self, place, structure, detail):
        injected = detail + structure if self.config.structure_injection else detail
        if not self.config.motion_layer:
            return F.avg_pool2d(injected, MOTION_STRIDE)
        return self.motion_layer[place](injected)

    def _match(self, state, motions, train):
        """The displacement [B, h, w, 2] and, in training, the volume it comes from."""
        radius, query = self.config.search_radius, motions[-1]
        key = self._or_initial(state, state.motion[len(motions) - 1], query)
        displacement = self.match(query, key, radius=radius)
        if self.config.initial_features == "zero":
            # Against zeros all scores tie, and the first class is no motion to report.
            displacement = torch.where(_per_video(state.is_first), 0, displacement)
        volume = cost_volume(query, key, radius=radius) if train else None
        return displacement, volume

    def _with_warped(self, state, detail, displacement):
        """The frame's features and the previous frame's aligned ones, 2C channels."""
        warped = self._or_initial(state, state.detail, detail)
        if displacement is not None:
            warped = displace(warped, displacement)
        return torch.cat([detail, warped], dim=1)

    def _or_initial(self, state, stored, own):
        """The stored features; where a video starts, the frame's own or zeros."""
        own_start = self.config.initial_features == "own"
        start = own if own_start else torch.zeros_like(own)
        return torch.where(_per_video(state.is_first), start, stored)

    def _image(self, layer, features, blurry, guides, usual=None):
        along, moved, is_first = guides
        p, pattern = self.config.patch, "b (p q c) h w -> b c (h p) (w q)"
        sizes = [3 * p**2, self.config.filter_taps, self.config.blend_shares]
        image, weights, logits = layer(features).float().split(sizes, dim=1)
        image = einops.rearrange(image, pattern, p=p, q=p)
        if along is not None:
            if usual is not None:
                weights = weights + usual[..., None, None]
            weights = weights.repeat_interleave(p, 2).repeat_interleave(p, 3)
            filtered = (weights * along).sum(dim=1, keepdim=True)
            image = image + FILTER_SCALE * filtered
        image = blurry + image if self.config.residual_learning else image
        return image if moved is None else blended(image, moved, logits, is_first)


def _conv(activation, *features, padding=1, layer=nn.Conv2d, **options):
    after = nn.ReLU() if activation == "relu" else nn.LeakyReLU(LEAKY_SLOPE)
    return nn.Sequential(layer(*features, padding=padding, **options), after)


def _per_video(flag):
    return flag.reshape(-1, 1, 1, 1)


def _next_state(state, motions, detail, restored, train):
    restored = restored.detach()
    return TwinState(
        motion=tuple(m.detach() for m in motions),
        detail=detail.detach(),
        restored=restored if train else restored.clamp(0, 1),
        is_first=torch.zeros_like(state.is_first),
    )


def _outputs(images, displacement, volumes, size, train):
    height, width = size
    images = [
        einops.rearrange(image, "b c h w -> b h w c")[:, :height, :width]
        for image in images
    ]
    outputs = {"restored": images[-1]}
    if displacement is not None:
        outputs["displacement"] = displacement
    if train:
        stacked = torch.stack(images, dim=1)
        outputs["intermediate"] = stacked[:, :-1]
        if volumes:
            outputs["cost_volume"] = torch.stack(volumes, dim=1)
    return outputs
