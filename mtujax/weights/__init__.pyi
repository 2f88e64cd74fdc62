from .convert import convert_checkpoint as convert_checkpoint
from .files import (
    WeightsFile as WeightsFile,
    bundled as bundled,
    describe as describe,
    load as load,
    save_weights as save_weights,
)
