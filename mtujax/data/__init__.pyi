from .array_cache import is_cache as is_cache
from .array_cache import verify_cache as verify_cache
from .check import check_dataset as check_dataset
from .clips import Clips as Clips
from .clips import ClipSpec as ClipSpec
from .contact_sheet import clips_of_set as clips_of_set
from .contact_sheet import write_sheet as write_sheet
from .flow import (
    ComputedMotion as ComputedMotion,
)
from .flow import (
    FlowFiles as FlowFiles,
)
from .flow import (
    dis_flow as dis_flow,
)
from .flow import (
    read_flo as read_flo,
)
from .flow import (
    read_npz as read_npz,
)
from .flow import (
    write_npz as write_npz,
)
from .flow_cache import compute_motion as compute_motion
from .frames import FolderFrames as FolderFrames
from .frames import FrameSource as FrameSource
from .locate import flow_folder as flow_folder
from .locate import open_frames as open_frames
from .locate import open_motion as open_motion
from .pipeline import BatchSpec as BatchSpec
from .pipeline import training_batches as training_batches
from .prepare import prepare_dataset as prepare_dataset
from .transforms import Augment as Augment
from .transforms import MotionLabels as MotionLabels
from .transforms import Noise as Noise
