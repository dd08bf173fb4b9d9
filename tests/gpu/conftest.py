"""float32 products exactly: TensorRT-RTX 1.5 uses TF32 for them whatever its builder flag says,
unless the driver is told otherwise before CUDA starts."""

import os

os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
