from .config import (
    PAPER_TEXT as PAPER_TEXT,
    PRESETS as PRESETS,
    ModelConfig as ModelConfig,
)
from .deblur.api import deblur_video as deblur_video
from .deblur.videos import deblur_videos as deblur_videos
from .errors import UsageError as UsageError, UserError as UserError
from .evaluation.api import evaluate as evaluate
from .metrics.image import psnr as psnr, ssim as ssim
from .model.clip import restore_clip as restore_clip
from .model.network import (
    MTUNet as MTUNet,
    RecurrentState as RecurrentState,
    inference_params as inference_params,
    init_params as init_params,
    initial_state as initial_state,
)
from .model.stream import Stream as Stream
from .ops.matching import cost_volume as cost_volume, match as match
from .ops.resampling import backward_warp as backward_warp
from .training.config import (
    DataConfig as DataConfig,
    RunConfig as RunConfig,
    TrainConfig as TrainConfig,
    ValidationConfig as ValidationConfig,
)
from .training.losses import (
    motion_loss as motion_loss,
    restoration_loss as restoration_loss,
)
from .training.run import train as train
from .weights.files import load as load, save_weights as save_weights
