from .detectron2_wheel import install_detectron2
from .examination import examine
from .smoke_run import SmokeScene

__all__ = ["SmokeScene", "examine", "install_detectron2"]
