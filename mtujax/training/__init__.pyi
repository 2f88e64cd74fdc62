from .checkpoints import Checkpoints as Checkpoints
from .config import (
    RENAMED as RENAMED,
    DataConfig as DataConfig,
    RunConfig as RunConfig,
    TrainConfig as TrainConfig,
    ValidationConfig as ValidationConfig,
)
from .config_dict import (
    from_config_dict as from_config_dict,
    to_config_dict as to_config_dict,
)
from .losses import motion_loss as motion_loss, restoration_loss as restoration_loss
from .optimizers import (
    TrainState as TrainState,
    init_train_state as init_train_state,
    learning_rate_schedule as learning_rate_schedule,
    make_optimizers as make_optimizers,
)
from .run import train as train
from .run_folder import (
    export_state as export_state,
    export_weights as export_weights,
    read_run as read_run,
)
from .step import clip_step as clip_step, make_step as make_step
