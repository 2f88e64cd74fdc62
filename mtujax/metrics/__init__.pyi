from .alignment import align as align
from .image import (
    psnr as psnr,
)
from .image import (
    ssim as ssim,
)
from .image import (
    ssim_uniform as ssim_uniform,
)
from .image import (
    ssim_volumetric as ssim_volumetric,
)
from .motion import (
    alignment_accuracy as alignment_accuracy,
)
from .motion import (
    end_point_error as end_point_error,
)
from .protocols import (
    PROTOCOLS as PROTOCOLS,
)
from .protocols import (
    Protocol as Protocol,
)
from .protocols import (
    find_protocol as find_protocol,
)
from .temporal import (
    temporal_consistency as temporal_consistency,
)
from .temporal import (
    warping_error as warping_error,
)
