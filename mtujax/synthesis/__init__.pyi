from .device.clip import make_clips as make_clips, make_generator as make_generator
from .host.clip import (
    BlurredClip as BlurredClip,
    PhotoSamples as PhotoSamples,
    synthesize as synthesize,
)
from .photos import (
    read_cutouts as read_cutouts,
    read_photo as read_photo,
    read_photos as read_photos,
)
from .sets import (
    Filming as Filming,
    averaged as averaged,
    filmed as filmed,
    write_set as write_set,
)
from .settings import (
    BlurSettings as BlurSettings,
    Exposure as Exposure,
    Objects as Objects,
    Shake as Shake,
)
