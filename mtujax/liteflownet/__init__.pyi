from .network import LiteFlowNet as LiteFlowNet
from .network import label_motion as label_motion
from .weights import convert_teacher as convert_teacher
from .weights import load_teacher as load_teacher
from .weights import save_teacher as save_teacher
from .weights import teacher_estimator as teacher_estimator
