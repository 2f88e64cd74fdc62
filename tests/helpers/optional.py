"""What the faces of some folders need besides the package's own requirements."""

NEEDED = {"mtujax.torch_port": "torch", "mtujax.deploy": "onnx"}
