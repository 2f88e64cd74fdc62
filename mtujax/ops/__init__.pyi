from .labels import motion_labels as motion_labels
from .matching import cost_volume as cost_volume
from .matching import match as match
from .resampling import (
    area_downsample as area_downsample,
)
from .resampling import (
    area_resize as area_resize,
)
from .resampling import (
    depth_to_space as depth_to_space,
)
from .resampling import (
    space_to_depth as space_to_depth,
)
from .steering import along_motion as along_motion
from .steering import frame_motion as frame_motion
from .warping import backward_warp as backward_warp
from .warping import displace as displace
