from .labels import motion_labels as motion_labels
from .matching import (
    backward_warp as backward_warp,
    cost_volume as cost_volume,
    displace as displace,
    match as match,
)
from .motion_samples import along_motion as along_motion, frame_motion as frame_motion
from .resampling import (
    area_downsample as area_downsample,
    area_resize as area_resize,
    depth_to_space as depth_to_space,
    space_to_depth as space_to_depth,
)
