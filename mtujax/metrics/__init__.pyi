from .image import (
    psnr as psnr,
    ssim as ssim,
    ssim_uniform as ssim_uniform,
    ssim_volumetric as ssim_volumetric,
)
from .motion import (
    alignment_accuracy as alignment_accuracy,
    end_point_error as end_point_error,
    temporal_consistency as temporal_consistency,
    warping_error as warping_error,
)
from .protocols import (
    PROTOCOLS as PROTOCOLS,
    Protocol as Protocol,
    align as align,
    find_protocol as find_protocol,
)
