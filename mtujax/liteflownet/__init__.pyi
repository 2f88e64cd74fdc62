from .convert import convert_teacher as convert_teacher
from .network import LiteFlowNet as LiteFlowNet, label_motion as label_motion
from .weights import (
    load_teacher as load_teacher,
    save_teacher as save_teacher,
    teacher_estimator as teacher_estimator,
)
