from .data_set import Listed, Pair, Target, folder_target
from .finding import Finding
from .inspection import Report, Settings, demand, judge, verify
from .official import OFFICIAL, Official
from .pairing import list_folder
from .registered import find_registered
from .scan import FileFacts, Histogram
from .tables import details, overview

__all__ = [
    "FileFacts",
    "Finding",
    "Histogram",
    "Listed",
    "OFFICIAL",
    "Official",
    "Pair",
    "Report",
    "Settings",
    "Target",
    "demand",
    "details",
    "find_registered",
    "folder_target",
    "judge",
    "list_folder",
    "overview",
    "verify",
]
