"""Is a data set what it says it is? Checks of folders of images and label maps.

NumPy and Pillow only, but for `registered`, which asks Detectron2's catalogue.
"""

from stseg.data.verification.finding import Finding
from stseg.data.verification.official import OFFICIAL, Official
from stseg.data.verification.pairing import list_folder
from stseg.data.verification.scan import FileFacts, Histogram, scan
from stseg.data.verification.target import Listed, Pair, Target, folder_target
from stseg.data.verification.verify import Report, Settings, demand, judge, verify

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
