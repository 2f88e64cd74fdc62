from .api import DeblurReport as DeblurReport
from .api import deblur_video as deblur_video
