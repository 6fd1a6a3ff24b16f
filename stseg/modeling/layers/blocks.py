"""How much is worked on at a time: blocks that stay in a CPU's cache, or that fill a GPU."""

from collections.abc import Iterator

import torch

#: Bytes of the largest intermediate of a block, by type of device.
BLOCK_BYTES = {"cpu": 4 << 20, "cuda": 256 << 20}


def blocks(length: int, floats: int, device: torch.device) -> Iterator[slice]:
    """Cut an axis into blocks.

    Args:
        length: of the axis.
        floats: what the largest intermediate needs per index, in float32 numbers.
        device: where it lies.

    Yields:
        Slices that cover [0, length) in order.
    """
    size = max(BLOCK_BYTES.get(device.type, BLOCK_BYTES["cuda"]) // (4 * floats), 1)
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))
