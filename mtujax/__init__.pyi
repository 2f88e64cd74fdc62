from .config import (
    PAPER_TEXT as PAPER_TEXT,
)
from .config import (
    PRESETS as PRESETS,
)
from .config import (
    ModelConfig as ModelConfig,
)
from .deblur.api import deblur_video as deblur_video
from .errors import UsageError as UsageError
from .errors import UserError as UserError
from .evaluation.api import evaluate as evaluate
from .metrics.image import psnr as psnr
from .metrics.image import ssim as ssim
from .model.clip import restore_clip as restore_clip
from .model.network import (
    MTUNet as MTUNet,
)
from .model.network import (
    RecurrentState as RecurrentState,
)
from .model.network import (
    inference_params as inference_params,
)
from .model.network import (
    init_params as init_params,
)
from .model.network import (
    initial_state as initial_state,
)
from .model.stream import Stream as Stream
from .ops.matching import cost_volume as cost_volume
from .ops.matching import match as match
from .ops.warping import backward_warp as backward_warp
from .training.config import (
    DataConfig as DataConfig,
)
from .training.config import (
    RunConfig as RunConfig,
)
from .training.config import (
    TrainConfig as TrainConfig,
)
from .training.config import (
    ValidationConfig as ValidationConfig,
)
from .training.losses import (
    motion_loss as motion_loss,
)
from .training.losses import (
    restoration_loss as restoration_loss,
)
from .training.run import train as train
from .weights.files import load as load
from .weights.files import save_weights as save_weights
