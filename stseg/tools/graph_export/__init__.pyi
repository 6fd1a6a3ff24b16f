from .about import ABOUT, GraphAbout, about_graphs
from .export_command import graph_command
from .formats import FORMATS
from .words_file import write_words
from .writing import write_graphs

__all__ = [
    "ABOUT",
    "FORMATS",
    "GraphAbout",
    "about_graphs",
    "graph_command",
    "write_graphs",
    "write_words",
]
