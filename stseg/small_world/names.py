"""The words of the small world: classes, the seen/unseen split, colours and patterns.

The split was fixed before anything was trained: three of ten stuff classes and six of twenty-one
things have no mask in the training labels. Captions speak of all classes, as text on the web does.
"""

from stseg.data import load_class_list, load_unseen

#: In the order of label ids, stuff first.
CLASS_NAMES = load_class_list("small_world")
STUFF_NAMES, THING_NAMES = CLASS_NAMES[:10], CLASS_NAMES[10:]
UNSEEN_NAMES = tuple(CLASS_NAMES[i] for i in sorted(load_unseen("small_world")))
SEEN_NAMES = tuple(name for name in CLASS_NAMES if name not in UNSEEN_NAMES)

# RGB of the body of a thing; every thing comes in every colour.
COLOURS = {
    "red": (214, 48, 49),
    "orange": (243, 146, 44),
    "yellow": (250, 215, 62),
    "green": (64, 168, 84),
    "blue": (48, 104, 208),
    "purple": (132, 72, 178),
    "pink": (246, 142, 186),
    "white": (244, 243, 238),
}
PATTERNS = ("plain", "striped", "dotted", "checked")
