from .about import ABOUT, GraphAbout, about_graphs
from .export_command import graph_command
from .graph_files import write_graphs
from .graph_formats import FORMATS
from .words_file import write_words

__all__ = [
    "ABOUT",
    "FORMATS",
    "GraphAbout",
    "about_graphs",
    "graph_command",
    "write_graphs",
    "write_words",
]
