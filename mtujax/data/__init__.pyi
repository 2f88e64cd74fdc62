from .array_cache import is_cache as is_cache, verify_cache as verify_cache
from .check import check_dataset as check_dataset
from .clips import Clips as Clips, ClipSpec as ClipSpec
from .contact_sheet import clips_of_set as clips_of_set, write_sheet as write_sheet
from .flow import (
    ComputedMotion as ComputedMotion,
    FlowFiles as FlowFiles,
    dis_flow as dis_flow,
    read_flo as read_flo,
    read_npz as read_npz,
    write_npz as write_npz,
)
from .flow_cache import compute_motion as compute_motion
from .frames import FolderFrames as FolderFrames, FrameSource as FrameSource
from .locate import (
    flow_folder as flow_folder,
    open_frames as open_frames,
    open_motion as open_motion,
)
from .pipeline import (
    Augment as Augment,
    BatchSpec as BatchSpec,
    MotionLabels as MotionLabels,
    Noise as Noise,
    training_batches as training_batches,
)
from .prepare import prepare_dataset as prepare_dataset
