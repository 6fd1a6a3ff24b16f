from .data_set import Listed, Pair, Target, folder_target
from .finding import Finding
from .inspection import Report, Settings, demand, judge, verify
from .official import OFFICIAL, Official
from .pairing import list_folder
from .registered import distinct_names, find_registered, known_names
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
    "distinct_names",
    "find_registered",
    "folder_target",
    "judge",
    "known_names",
    "list_folder",
    "overview",
    "verify",
]
