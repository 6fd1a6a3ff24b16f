"""Videos with frames that cannot be read."""

import struct

import cv2
import numpy as np


def damaged_film(folder, count, holes=(), keep=1.0, suffix=".avi"):
    """A film of greys, 6 brighter from frame to frame, 10 a second.

    Args:
        folder: to write into.
        count: of frames.
        holes: frames of an .avi that are overwritten.
        keep: share of the file that is left.
        suffix: of the file.
    """
    path = folder / f"film{suffix}"
    code = {".avi": "MJPG", ".webm": "VP80", ".mp4": "mp4v"}[suffix]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), 10, (64, 48))
    for number in range(count):
        writer.write(np.full((48, 64, 3), 6 * number, np.uint8))
    writer.release()
    raw = bytearray(path.read_bytes())
    places = [i for i in range(len(raw)) if raw[i : i + 4] == b"00dc"][1:]  # the header has one
    for hole in holes:
        at = places[hole] + 8
        (size,) = struct.unpack("<I", raw[at - 4 : at])
        raw[at : at + size] = bytes(size)
    path.write_bytes(raw[: int(keep * len(raw))])
    return path
