from .checkpoints import Checkpoints as Checkpoints
from .config import (
    RENAMED as RENAMED,
)
from .config import (
    DataConfig as DataConfig,
)
from .config import (
    RunConfig as RunConfig,
)
from .config import (
    TrainConfig as TrainConfig,
)
from .config import (
    ValidationConfig as ValidationConfig,
)
from .config_dict import (
    from_config_dict as from_config_dict,
)
from .config_dict import (
    to_config_dict as to_config_dict,
)
from .export import export_state as export_state
from .export import export_weights as export_weights
from .losses import motion_loss as motion_loss
from .losses import restoration_loss as restoration_loss
from .optimizers import (
    learning_rate_schedule as learning_rate_schedule,
)
from .optimizers import (
    make_optimizers as make_optimizers,
)
from .run import train as train
from .run_folder import read_run as read_run
from .step import (
    TrainState as TrainState,
)
from .step import (
    clip_step as clip_step,
)
from .step import (
    init_train_state as init_train_state,
)
from .step import (
    make_step as make_step,
)
