from .api import DeblurReport as DeblurReport, deblur_video as deblur_video
