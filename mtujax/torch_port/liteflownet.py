"""LiteFlowNet in PyTorch: oracle of its tests and of `convert --teacher --check`.

Written from the paper (Hui et al., CVPR 2018) and the published checkpoint's tensor
names, which its parameters carry, so `load_state_dict(strict=True)` accepts a published
state dict. Inside it is NCHW. Imported late: needs torch. Letters: B batch, H W pixels
of full resolution, h w of a level, C channels.
"""

import einops
import torch
import torch.nn.functional as F
from torch import nn

_KERNELS = (7, 5, 5, 3, 3)  # of levels 2 to 6
_CHANNELS = (32, 64, 96, 128, 192)
_REACH = 3  # displacements matched each way


class TorchLiteFlowNet(nn.Module):
    """The whole network; the coarsest level has index 4 in its lists.

    Examples:
        >>> network = TorchLiteFlowNet()
        >>> frame = torch.zeros(1, 32, 64, 3)
        >>> tuple(network(frame, frame).shape)  # half of the resolution
        (1, 16, 32, 2)
    """

    def __init__(self):
        """Makes the layers, with PyTorch's initial weights."""
        super().__init__()
        places = range(len(_KERNELS))
        self.moduleFeatures = _Features()
        self.moduleMatching = nn.ModuleList(_Matching(k) for k in places)
        self.moduleSubpixel = nn.ModuleList(_Subpixel(k) for k in places)
        self.moduleRegularization = nn.ModuleList(_Regularization(k) for k in places)

    @torch.no_grad()
    def forward(self, current: torch.Tensor, previous: torch.Tensor) -> torch.Tensor:
        """Finds where each pixel of a frame was in the previous one.

        Args:
            current: [B, H, W, 3] float32 in [0, 1]; sides are multiples of 32.
            previous: [B, H, W, 3], likewise.

        Returns:
            [B, H/2, W/2, 2] backward flow (dx, dy) in pixels of the full resolution.
        """
        images = [
            [einops.rearrange(frames, "b h w c -> b c h w")]
            for frames in (current, previous)
        ]
        features = [self.moduleFeatures(levels[0]) for levels in images]
        for levels, found in zip(images, features, strict=True):
            for x in found:
                size = x.shape[-2:]
                levels.append(F.interpolate(levels[-1], size, mode="bilinear"))
        flow = None
        for k in reversed(range(len(_KERNELS))):
            first, second = (found[k] for found in features)
            pair = [levels[k + 1] for levels in images]
            flow = self.moduleMatching[k](first, second, flow)
            flow = self.moduleSubpixel[k](first, second, flow)
            flow = self.moduleRegularization[k](pair, first, flow)
        return einops.rearrange(20.0 * flow, "b c h w -> b h w c")


class _Features(nn.Module):
    def __init__(self):
        super().__init__()
        self.moduleOne = _stack([3, 32], kernel=7)
        self.moduleTwo = _stack([32, 32, 32, 32], stride=2)
        self.moduleThr = _stack([32, 64, 64], stride=2)
        self.moduleFou = _stack([64, 96, 96], stride=2)
        self.moduleFiv = _stack([96, 128], stride=2)
        self.moduleSix = _stack([128, 192], stride=2)

    def forward(self, image):
        """Maps image [B, 3, H, W] to the features of levels 2 to 6."""
        x, levels = self.moduleOne(image), []
        for word in ("Two", "Thr", "Fou", "Fiv", "Six"):
            x = getattr(self, f"module{word}")(x)
            levels.append(x)
        return levels


class _Matching(nn.Module):
    def __init__(self, place):
        super().__init__()
        self.factor, self.strided = _factor(place), place <= 1
        if place == 0:
            self.moduleFeat = _stack([32, 64], kernel=1)
        if place < len(_KERNELS) - 1:
            self.moduleUpflow = _up(2)
        if self.strided:
            self.moduleUpcorr = _up(49)
        self.moduleMain = _head(49, _KERNELS[place])

    def forward(self, first, second, flow):
        if hasattr(self, "moduleFeat"):
            first, second = self.moduleFeat(first), self.moduleFeat(second)
        if flow is not None:
            flow = self.moduleUpflow(flow)
            second = _warp(second, flow * self.factor)
        scores = F.leaky_relu(raw_scores(first, second, 1 + self.strided), 0.1)
        if self.strided:
            scores = self.moduleUpcorr(scores)
        step = self.moduleMain(scores)
        return step if flow is None else flow + step


class _Subpixel(nn.Module):
    def __init__(self, place):
        super().__init__()
        self.factor, channels = _factor(place), _CHANNELS[place]
        if place == 0:
            self.moduleFeat, channels = _stack([32, 64], kernel=1), 64
        self.moduleMain = _head(2 * channels + 2, _KERNELS[place])

    def forward(self, first, second, flow):
        if hasattr(self, "moduleFeat"):
            first, second = self.moduleFeat(first), self.moduleFeat(second)
        second = _warp(second, flow * self.factor)
        return flow + self.moduleMain(torch.cat([first, second, flow], 1))


class _Regularization(nn.Module):
    def __init__(self, place):
        super().__init__()
        self.factor, k = _factor(place), _KERNELS[place]
        self.kernel, channels = k, _CHANNELS[place]
        if place <= 2:
            self.moduleFeat, channels = _stack([channels, 128], kernel=1), 128
        self.moduleMain = _stack([channels + 3, 128, 128, 64, 64, 32, 32])
        if place <= 2:
            self.moduleDist = nn.Sequential(
                nn.Conv2d(32, k * k, (k, 1), padding=(k // 2, 0)),
                nn.Conv2d(k * k, k * k, (1, k), padding=(0, k // 2)),
            )
        else:
            self.moduleDist = nn.Sequential(nn.Conv2d(32, k * k, k, padding=k // 2))
        self.moduleScaleX = nn.Conv2d(k * k, 1, 1)
        self.moduleScaleY = nn.Conv2d(k * k, 1, 1)

    def forward(self, images, first, flow):
        difference = images[0] - _warp(images[1], flow * self.factor)
        error = difference.pow(2).sum(1, keepdim=True).sqrt()
        centred = flow - flow.mean((2, 3), keepdim=True)
        if hasattr(self, "moduleFeat"):
            first = self.moduleFeat(first)
        x = self.moduleMain(torch.cat([error, centred, first], 1))
        distance = -self.moduleDist(x).pow(2)
        weights = (distance - distance.amax(1, keepdim=True)).exp()
        total = weights.sum(1, keepdim=True)
        scales = (self.moduleScaleX, self.moduleScaleY)
        parts = [
            scale(weights * self._neighbours(plane)) / total
            for scale, plane in zip(scales, flow.split(1, 1), strict=True)
        ]
        return torch.cat(parts, 1)

    def _neighbours(self, plane):
        """The k x k neighbourhood of each value of plane [B, 1, h, w] as channels."""
        near = F.unfold(plane, self.kernel, padding=self.kernel // 2)
        return near.unflatten(2, plane.shape[-2:])


def raw_scores(
    first: torch.Tensor, second: torch.Tensor, stride: int = 1
) -> torch.Tensor:
    """Mean products of [B, C, h, w], moved by up to 3 strides: [B, 49, h', w']."""
    # Zero outside, before the LeakyReLU, of every `stride`-th pixel from 0 on; dy
    # outer.
    height, width = first.shape[-2:]
    reach = _REACH * stride
    padded, planes = F.pad(second, (reach,) * 4), []
    for dy in range(0, 2 * reach + 1, stride):
        for dx in range(0, 2 * reach + 1, stride):
            moved = padded[..., dy : dy + height, dx : dx + width]
            planes.append((first * moved).mean(1)[..., ::stride, ::stride])
    return torch.stack(planes, 1)


def _warp(source, flow):
    """Bilinear samples of source [B, C, h, w] at each pixel plus flow [B, 2, h, w]."""
    height, width = source.shape[-2:]
    x = torch.arange(width) + flow[:, 0]
    y = torch.arange(height)[:, None] + flow[:, 1]
    # grid_sample counts in halves of the image, from -1 at its outer edge.
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    return F.grid_sample(source, grid, padding_mode="zeros", align_corners=False)


def _factor(place):
    """Pixels of the level with an index in one unit of the internal flow."""
    return 10.0 / 2**place


def _stack(widths, *, kernel=3, stride=1):
    """Convolutions, each followed by LeakyReLU; the first one has the stride."""
    layers = []
    for k, (inputs, outputs) in enumerate(zip(widths, widths[1:], strict=False)):
        step = stride if k == 0 else 1
        conv = nn.Conv2d(inputs, outputs, kernel, stride=step, padding=kernel // 2)
        layers += [conv, nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers)


def _head(channels, kernel):
    last = nn.Conv2d(32, 2, kernel, padding=kernel // 2)
    return nn.Sequential(*_stack([channels, 128, 64, 32]), last)


def _up(channels):
    return nn.ConvTranspose2d(
        channels, channels, 4, stride=2, padding=1, bias=False, groups=channels
    )
