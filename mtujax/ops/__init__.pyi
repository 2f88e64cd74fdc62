from .labels import motion_labels as motion_labels
from .matching import cost_volume as cost_volume, match as match
from .motion_samples import along_motion as along_motion, frame_motion as frame_motion
from .resampling import (
    area_downsample as area_downsample,
    area_resize as area_resize,
    backward_warp as backward_warp,
    depth_to_space as depth_to_space,
    displace as displace,
    space_to_depth as space_to_depth,
)
