"""How much is worked on at a time: blocks that stay in a CPU's cache, or that fill a GPU."""

from collections.abc import Iterator

import torch

#: Bytes of the largest intermediate of a block: on a CPU, and elsewhere.
CPU_BYTES, OTHER_BYTES = 4 << 20, 256 << 20


def blocks(length: int, floats: int, device: torch.device) -> Iterator[slice]:
    """Cut an axis into blocks.

    Args:
        length: of the axis.
        floats: what the largest intermediate needs per index, in float32 numbers.
        device: where it lies.

    Yields:
        Slices that cover [0, length) in order.
    """
    num_bytes = CPU_BYTES if device.type == "cpu" else OTHER_BYTES
    size = max(num_bytes // (4 * floats), 1)
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))
