from .convert import convert_checkpoint as convert_checkpoint
from .files import (
    WeightsFile as WeightsFile,
)
from .files import (
    bundled as bundled,
)
from .files import (
    describe as describe,
)
from .files import (
    load as load,
)
from .files import (
    save_weights as save_weights,
)
