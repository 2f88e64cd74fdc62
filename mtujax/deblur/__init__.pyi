from .api import DeblurReport as DeblurReport, deblur_video as deblur_video
from .report import VideoResult as VideoResult, as_table as as_table
from .videos import deblur_videos as deblur_videos
