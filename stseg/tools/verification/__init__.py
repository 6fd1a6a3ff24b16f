"""Is a data set what it says it is? Checks of folders of images and label maps.

NumPy and Pillow only, but for `registered`, which asks Detectron2's catalogue.
"""

from stseg.tools.verification.data_set import Listed, Pair, Target, folder_target
from stseg.tools.verification.finding import Finding
from stseg.tools.verification.official import OFFICIAL, Official
from stseg.tools.verification.pairing import list_folder
from stseg.tools.verification.scan import FileFacts, Histogram, scan
from stseg.tools.verification.verify import Report, Settings, demand, judge, verify

__all__ = [
    "OFFICIAL",
    "FileFacts",
    "Finding",
    "Histogram",
    "Listed",
    "Official",
    "Pair",
    "Report",
    "Settings",
    "Target",
    "demand",
    "folder_target",
    "judge",
    "list_folder",
    "scan",
    "verify",
]
