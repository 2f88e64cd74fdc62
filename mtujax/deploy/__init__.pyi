from .onnx_file import write_onnx as write_onnx
from .stablehlo import write_step as write_step
