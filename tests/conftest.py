"""torchvision imports beside a CPU build of torch, and nothing asks a model hub."""

import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.append(str(Path(__file__).resolve().parents[1] / "manifests"))

import torchvision_on_cpu

torchvision_on_cpu.prepare()
