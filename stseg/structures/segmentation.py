"""The answer for one image. NumPy only, until it is shown or written."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from stseg.utils import IGNORE_LABEL, nearest

# What shows, writes and exports is imported where it is asked for: the answer alone needs neither
# Pillow nor OpenCV.


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The answer for one image.

    Example:
        >>> cats = result["cat"]  # (H, W) bool
        >>> result.show()
        >>> result.save("output", "photo")

    Attributes:
        label_map: (H, W) int32, index into `names`; -1 where unknown.
        confidence: (H, W) float32 in [0, 1], of the class shown, or of the best candidate where
            the label is unknown.
        names: T class names.
        image: (H, W, 3) uint8 RGB that was segmented, not a copy; None where it is not known.
    """

    label_map: np.ndarray
    confidence: np.ndarray
    names: tuple[str, ...]
    image: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.label_map.ndim != 2 or self.label_map.shape != self.confidence.shape:
            raise ValueError(
                "Segmentation: expected label_map and confidence of one shape (H, W), "
                f"got {self.label_map.shape} and {self.confidence.shape}."
            )
        labels = self.label_map.astype(np.int32, copy=False)
        if labels.size and not IGNORE_LABEL <= labels.min() <= labels.max() < len(self.names):
            raise ValueError(
                f"Segmentation: expected labels in [-1, {len(self.names) - 1}], "
                f"got [{labels.min()}, {labels.max()}]."
            )
        image = self.image
        if image is not None and (image.shape != (*labels.shape, 3) or image.dtype != np.uint8):
            raise ValueError(
                f"Segmentation: expected an image (H, W, 3) of uint8 with (H, W) = {labels.shape}, "
                f"got {image.shape} of {image.dtype}."
            )
        object.__setattr__(self, "label_map", labels)
        object.__setattr__(self, "confidence", self.confidence.astype(np.float32, copy=False))
        object.__setattr__(self, "names", tuple(self.names))

    def __getitem__(self, name: str) -> np.ndarray:
        """Where a class is, (H, W) bool.

        "unknown" is where no class is, unless a class is called so.

        Raises:
            KeyError: if there is no such class; names the nearest.
        """
        if name in self.names:
            return np.isin(self.label_map, [i for i, n in enumerate(self.names) if n == name])
        if name == "unknown":
            return self.label_map == IGNORE_LABEL
        near = "".join(f" The nearest is {other!r}." for other in nearest(name, self.names))
        raise KeyError(
            f"Segmentation: expected one of its {len(self.names)} names, or 'unknown', got "
            f"{name!r}.{near}"
        )

    def overlay(self, size: Sequence[int] | None = None) -> np.ndarray:
        """The colours of the classes over the photograph, their names in their largest regions.

        Args:
            size: (H', W') of the picture; by default that of the photograph.

        Returns:
            (H', W', 3) uint8 RGB; without an image the colours alone. Unknown is hatched.

        Raises:
            ValueError: if a side is below 1.
        """
        from stseg.render import named_overlay

        return named_overlay(self.image, self.label_map, self.names, size)

    def show(self) -> None:
        """Display it in a notebook, else open the overlay in the viewer that Pillow finds."""
        from stseg.render import show_picture

        show_picture(self)

    def _repr_html_(self) -> str:
        """Overlay and table of the classes found, as notebooks show it."""
        from stseg.render import segmentation_html

        return segmentation_html(self)

    def save(
        self,
        directory: str | PathLike[str],
        stem: str,
        image: np.ndarray | None = None,
        kinds: Sequence[str] | None = None,
    ) -> list[Path]:
        """Write files that people and programs can read.

        * "labels", `<stem>.png`: ids, with a palette of the classes' colours and 255 where unknown;
          from 255 classes on 16 bits of grey, and 65535 where unknown;
        * "json", `<stem>.json`: what the ids mean; colour, area and confidence of every class;
        * "overlay", `<stem>_overlay.jpg`: what `overlay` gives;
        * "legend", `<stem>_legend.jpg`: a legend beside the picture; small pictures enlarged;
        * "confidence", `<stem>_confidence.png`: 8 bits of grey, 255 times the confidence.

        Args:
            directory: made if missing.
            stem: file name without suffix.
            image: (H, W, 3) uint8 RGB, instead of the one that it has.
            kinds: what to write; "labels" and "json" go together. By default these two, and
                "overlay" where there is an image.

        Returns:
            The files written.

        Raises:
            ValueError: if the stem is not a plain file name, a kind is unknown, or the image has
                another size.
            FileExistsError: if a file of such a name is there and is none of a segmentation.
        """
        from stseg.render import save_segmentation

        return save_segmentation(self, Path(directory), stem, image, kinds)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "Segmentation":
        """Read what `save` wrote.

        Args:
            path: of the JSON; the PNGs lie beside it.

        Returns:
            Label map and names as they were, without the image. The confidence is that of its PNG
            (8 bits), where it was saved; else every pixel has the mean of its class, and 0 where
            unknown.

        Raises:
            FileNotFoundError: if the JSON or a PNG that it names is missing.
            ValueError: if it is another JSON, or a PNG does not fit it.
        """
        from stseg.render import read_segmentation

        return cls(*read_segmentation(Path(path)))

    def to_polygons(self) -> dict[str, list[np.ndarray]]:
        """The outlines of the classes.

        Returns:
            For every class present, rings of (N, 2) float64 corners (x, y). They run along the
            edges of pixels: (0, 0) is the upper left corner of the picture, and pixel (x, y) fills
            the square from there to (x + 1, y + 1). Outer rings run clockwise as seen on the
            screen, holes the other way round: with the shoelace formula an outer ring has a
            positive area, a hole a negative one, and the sum is the number of pixels. Pixels that
            touch at a corner only belong to two rings.
        """
        from stseg.exports import mask_rings

        present = dict.fromkeys(self.names[i] for i in np.unique(self.label_map) if i >= 0)
        return {name: mask_rings(self[name]) for name in present}

    def to_coco(self, image_id: int = 1, file_name: str = "") -> dict[str, Any]:
        """COCO's "images", "annotations" and "categories" of this image.

        Args:
            image_id: of the image.
            file_name: of the image.

        Returns:
            What json.dump takes. Category ids are class ids plus 1. A class that is present has one
            annotation: its mask as run lengths (RLE) with area and box; "iscrowd" is 0, since most
            programs leave crowds out.
        """
        from stseg.exports import coco_content

        return coco_content(self.label_map, self.names, image_id, file_name)

    def to_detections(self) -> Any:
        """Box, mask, class id, name and mean confidence of each class, for supervision.

        Returns:
            A supervision.Detections of all that is present, `class_name` in its data.

        Raises:
            ImportError: if supervision is not installed.
        """
        from stseg.exports import detections_of

        return detections_of(self.label_map, self.confidence, self.names)
