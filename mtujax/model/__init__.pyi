from .clip import clip_windows as clip_windows, restore_clip as restore_clip
from .network import (
    MTUNet as MTUNet,
    RecurrentState as RecurrentState,
    inference_params as inference_params,
    init_params as init_params,
    initial_state as initial_state,
    parameter_count as parameter_count,
)
from .operations import multiply_adds as multiply_adds
from .optimized_form import inference_form as inference_form
from .stream import Stream as Stream
from .tiling import TiledStream as TiledStream
