from .averaging import averaged as averaged
from .device.clip import make_clips as make_clips
from .device.clip import make_generator as make_generator
from .host.clip import BlurredClip as BlurredClip
from .host.clip import synthesize as synthesize
from .host.samples import PhotoSamples as PhotoSamples
from .photos import (
    read_cutouts as read_cutouts,
)
from .photos import (
    read_photo as read_photo,
)
from .photos import (
    read_photos as read_photos,
)
from .sets import Filming as Filming
from .sets import filmed as filmed
from .sets import write_set as write_set
from .settings import BlurSettings as BlurSettings
from .settings import Exposure as Exposure
from .settings import Objects as Objects
from .settings import Shake as Shake
