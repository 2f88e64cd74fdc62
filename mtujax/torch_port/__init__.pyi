from .liteflownet import TorchLiteFlowNet as TorchLiteFlowNet
from .network import TorchMTUNet as TorchMTUNet
