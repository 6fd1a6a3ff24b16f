"""What became of the labels of one round in the next."""

from stseg.self_training.store import PseudoLabelStore
from stseg.self_training.store_counts import share_of
from stseg.structures import IGNORE_LABEL


def count_changes(
    previous: PseudoLabelStore, current: PseudoLabelStore, rank: int = 0, world_size: int = 1
) -> tuple[int, int] | None:
    """How labels changed, in a share of the images; reads one pair of maps at a time.

    Args:
        previous: of the round before.
        current: its labels are whole.
        rank: of this process; each looks at a share of its own.
        world_size: how many there are.

    Returns:
        Pixels labelled in both rounds, and those of them whose class differs. None if a label of
        the round before is gone or cannot be read.

    Raises:
        ValueError: if the two hold other images or classes.
    """
    if previous.key.image_digests != current.key.image_digests:
        raise ValueError("Change of pseudo-labels: expected the same images in both rounds.")
    if previous.names != current.names:
        raise ValueError("Change of pseudo-labels: expected the same classes in both rounds.")
    both = changed = 0
    for index in share_of(len(current), rank, world_size):
        try:
            old = previous.read_labels(index)
        except (OSError, ValueError):
            return None
        new = current.read_labels(index)
        labelled = (old != IGNORE_LABEL) & (new != IGNORE_LABEL)
        both += int(labelled.sum())
        changed += int((labelled & (old != new)).sum())
    return both, changed
