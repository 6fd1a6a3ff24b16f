"""Pseudo-labels of one round on disk, in a folder that only one key may use.

    round_01-<12 digits of the key>/
        manifest.json            the key in full, class names, images; written first
        labels/000000_photo.png  class ids at the image's full size, 8 or 16 bits
        initial/...              the main branch's classes, where asked for
        weights/...              how much each label counts, 8 bits for [0, 1], where it is not 1
        records/000000_photo.json  what became of each class; written last: its existence means done
        summary.json             written by `finish`: the folder is complete

Every file is written beside its place and moved there, so a kill at any moment leaves images that
are done and images that are not.
"""

import errno
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from stseg.data import image_size, is_whole, read_label
from stseg.render import encode_labels, image_bytes, label_encoding, labels_at_size
from stseg.self_training.pseudo_label import PseudoLabel
from stseg.self_training.store_counts import RoundCounts, share_of
from stseg.self_training.store_key import StoreKey
from stseg.self_training.store_records import ImageRecord, encode_json
from stseg.utils import remove_leftovers, write_atomically

FORMAT_VERSION = 2
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class DiskFullError(OSError):
    """No space is left for pseudo-labels; what was written before stays valid."""


class PseudoLabelStore:
    """Writes, reads and sums up the pseudo-labels of one round.

    Several processes may share a folder. Each looks at its share of the images and writes those
    that are dealt to it, and counts what it sees; the sum of these counts is `counts`.

    Attributes:
        counts: of all images, once `finish` has run in this process; else None.
    """

    def __init__(
        self, root: Path, round_number: int, key: StoreKey, vocabulary_names: Sequence[str]
    ) -> None:
        """Name the folder; nothing is written before `open`.

        Args:
            root: holds one folder per round and key.
            round_number: from 1.
            key: what the pseudo-labels depend on; `key.images` gives images their indices.
            vocabulary_names: T class names; their number decides the bits of the PNGs.

        Raises:
            ValueError: if 16 bits cannot hold the class ids, or there is no image.
        """
        self.bits, self.ignore_value = label_encoding(len(vocabulary_names))
        if not key.images:
            raise ValueError("Pseudo-labels: expected at least one image, got none.")
        self.key, self.names, self.round_number = key, tuple(vocabulary_names), round_number
        self.folder = Path(root) / f"round_{round_number:02d}-{key.digest[:12]}"
        self.own_counts = RoundCounts(len(self.names))
        self.counts: RoundCounts | None = None

    def __len__(self) -> int:
        return len(self.key.images)

    def open(self) -> "PseudoLabelStore":
        """Make the folder, or go on in one of the same key. Call first, on rank 0 before others.

        Raises:
            ValueError: if the folder's manifest is broken or belongs to another key.
            DiskFullError: if there is no space.
        """
        with self._full_disk_explained():
            for name in ("labels", "initial", "records"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            if not self._manifest_file.exists():
                write_atomically(self._manifest_file, encode_json(self._manifest()))
        self._check_manifest()
        return self

    def take_stock(self, rank: int = 0, world_size: int = 1) -> tuple[list[int], int]:
        """Look at a share of the images: count what is whole, delete what is damaged.

        Counting begins anew. All processes look before any of them writes.

        Args:
            rank: of this process; each looks at a share of its own.
            world_size: how many there are.

        Returns:
            Images of the share that are to do, and how many of them were damaged.
        """
        if not 0 <= rank < world_size:
            raise ValueError(f"Rank: expected 0 to {world_size - 1}, got {rank}.")
        self.own_counts, self.counts = RoundCounts(len(self.names)), None
        missing, damaged = [], 0
        for index in share_of(len(self), rank, world_size):
            if not self.is_done(index):
                missing.append(index)
            elif record := self._whole(index):
                self.own_counts.add(index, record, self._size_of(index))
            else:
                missing.append(index)
                damaged += 1
                for file in self._files(index):
                    file.unlink(missing_ok=True)
        return missing, damaged

    def _whole(self, index: int) -> ImageRecord | None:
        """The record of an image whose files can all be read."""
        _, label, *others = self._files(index)
        try:
            record = self.image_record(index)
            size = image_size(label)
        except (OSError, ValueError):
            return None
        is_good = size == (record.height, record.width) and is_whole(label)
        return record if is_good and all(is_whole(x) for x in others if x.exists()) else None

    def _size_of(self, index: int) -> int:
        return sum(file.stat().st_size for file in self._files(index) if file.exists())

    def is_done(self, index: int) -> bool:
        """Whether label and record of an image are there."""
        return self._record_file(index).exists() and self._label_file(index).exists()

    def missing(self) -> list[int]:
        """Images without label or record."""
        return [i for i in range(len(self)) if not self.is_done(i)]

    def write(
        self,
        index: int,
        label: PseudoLabel,
        size: tuple[int, int] | None = None,
        keep_initial: bool = False,
    ) -> None:
        """Put one pseudo-label on disk; the image counts as done only at the very end.

        Args:
            index: of the image in `key.images`.
            label: its maps may be smaller than the image.
            size: (H, W) of the image in pixels, as read; by default that of the map.
            keep_initial: write the main branch's map, too.

        Raises:
            ValueError: if a label is outside the vocabulary.
            DiskFullError: if there is no space; the text says what is kept and how to go on.
        """
        labels = labels_at_size(label.label_map, size or label.label_map.shape)
        png = encode_labels(labels, len(self.names))
        record = ImageRecord.of(self.key.images[index].name, labels, label.classes)
        files = {self._label_file(index): png, self._record_file(index): record.encode()}
        if keep_initial and label.initial is not None:
            initial = encode_labels(labels_at_size(label.initial, labels.shape), len(self.names))
            files = {self._initial_file(index): initial, **files}
        if label.weights is not None:
            weights = np.rint(255 * labels_at_size(label.weights, labels.shape)).astype(np.uint8)
            files = {self._weight_file(index): image_bytes(weights, "PNG"), **files}
        with self._full_disk_explained():
            if label.weights is not None:
                self._weight_file(index).parent.mkdir(exist_ok=True)
            for path, content in files.items():
                write_atomically(path, content)
        self.own_counts.add(index, record, sum(map(len, files.values())))

    def read(self, index: int) -> PseudoLabel:
        """A pseudo-label as written, at the image's size; `initial` is None where not kept."""
        initial, weights = self._initial_file(index), self._weight_file(index)
        return PseudoLabel(
            label_map=self.read_labels(index),
            initial=self._read(initial) if initial.exists() else None,
            classes=self.image_record(index).classes,
            weights=_read_weights(weights) if weights.exists() else None,
        )

    def read_labels(self, index: int) -> np.ndarray:
        """(H, W) int32 class ids, IGNORE_LABEL where there is no label."""
        return self._read(self._label_file(index))

    def image_record(self, index: int) -> ImageRecord:
        """Size, coverage and classes of an image that is done.

        Raises:
            ValueError: if the record cannot be read.
        """
        return ImageRecord.read(self._record_file(index))

    def records_for_training(self) -> list[dict[str, Any]]:
        """Detectron2's records of the images with at least one labelled pixel, in order."""
        records = []
        for i in (i for i, classes in self._labelled() if classes):
            files = {"file_name": self.key.images[i], "sem_seg_file_name": self._label_file(i)}
            if self._weight_file(i).exists():
                files["sem_seg_weight_file_name"] = self._weight_file(i)
            records.append({key: str(file) for key, file in files.items()})
        return records

    def classes_for_training(self) -> list[tuple[int, ...]]:
        """Class ids in the label of each image of `records_for_training`, in its order."""
        return [classes for _, classes in self._labelled() if classes]

    def _labelled(self) -> list[tuple[int, tuple[int, ...]]]:
        if self.counts is None:
            raise ValueError(
                f"Pseudo-labels in {self.folder}: expected counts of all images, got none yet. "
                "Call `finish` first."
            )
        return sorted(self.counts.labelled.items())

    def summary(self) -> dict[str, Any]:
        """What `finish` gave.

        Raises:
            FileNotFoundError: if it has not run yet.
        """
        if self.counts is None:
            return json.loads(self._summary_file.read_bytes())
        disk_use = self.counts.total_bytes + self._manifest_file.stat().st_size
        return {**self.counts.summary(self.names), "disk_use": disk_use}

    def finish(
        self, parts: Sequence[RoundCounts] | None = None, is_main: bool = True
    ) -> dict[str, Any]:
        """Check that every image is done, sum up, write summary.json and return its content.

        Beside what `RoundCounts.summary` gives, "disk_use" is in bytes. No image's file is read.

        Args:
            parts: `own_counts` of all processes; None where there is only this one.
            is_main: whether this process is the one that writes.

        Raises:
            ValueError: if images are missing.
        """
        counts = RoundCounts.sum_of(parts or [self.own_counts])
        if missing := [i for i in range(len(self)) if i not in counts.labelled]:
            first = ", ".join(self.key.images[i].name for i in missing[:5])
            raise ValueError(
                f"Pseudo-labels in {self.folder}: expected all {len(self)} images, got "
                f"{len(missing)} missing ({first}{', ...' if len(missing) > 5 else ''}). "
                "Run the same command again; it goes on with them."
            )
        self.counts = counts
        if is_main:
            remove_leftovers(self.folder, below=True)
            content, file = encode_json(self.summary()), self._summary_file
            if not file.exists() or file.read_bytes() != content:  # else a full disk is no matter
                with self._full_disk_explained():
                    write_atomically(file, content)
        return self.summary()

    def refused(self) -> list[str]:
        """Folders of this round beside it, with what they differ in, such as "settings.gate".

        Labels that an earlier version made, or other settings or images, are not this run's.
        """
        own, told = _parts(self._manifest()), []
        for folder in sorted(self.folder.parent.glob(f"round_{self.round_number:02d}-*/")):
            if folder == self.folder:
                continue
            try:
                other = _parts(json.loads((folder / "manifest.json").read_bytes()))
            except (OSError, ValueError, AttributeError):
                told.append(f"{folder} has no manifest that can be read")
                continue
            if other.get("version") != own["version"]:
                told.append(f"{folder} is of another version of the program")
                continue
            differing = sorted(k for k in {*own, *other} if own.get(k) != other.get(k))
            told.append(f"{folder} differs in {', '.join(differing)}")
        return told

    def disk_use(self) -> int:
        """Bytes of all files in the folder."""
        size = 0
        for path in self.folder.rglob("*"):
            # Another process may move its temporary file away just now.
            with suppress(FileNotFoundError):
                size += path.stat().st_size if not path.is_dir() else 0
        return size

    @property
    def _manifest_file(self) -> Path:
        return self.folder / "manifest.json"

    @property
    def _summary_file(self) -> Path:
        return self.folder / "summary.json"

    def _stem(self, index: int) -> str:
        """Plain and unique: images of two folders, or a.jpg and a.png, may share a stem."""
        if not 0 <= index < len(self):
            raise IndexError(f"Pseudo-label index: expected 0 to {len(self) - 1}, got {index}.")
        stem = self.key.images[index].stem
        plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in stem)
        return f"{index:06d}_{plain[:60]}"

    def _label_file(self, index: int) -> Path:
        return self.folder / "labels" / f"{self._stem(index)}.png"

    def _initial_file(self, index: int) -> Path:
        return self.folder / "initial" / f"{self._stem(index)}.png"

    def _weight_file(self, index: int) -> Path:
        return self.folder / "weights" / f"{self._stem(index)}.png"

    def _files(self, index: int) -> tuple[Path, ...]:
        """Record and label, and what an image may have beside them."""
        files = (self._record_file, self._label_file, self._initial_file, self._weight_file)
        return tuple(file(index) for file in files)

    def _record_file(self, index: int) -> Path:
        return self.folder / "records" / f"{self._stem(index)}.json"

    def _read(self, path: Path) -> np.ndarray:
        return read_label(path, len(self.names), (self.ignore_value,)).astype(np.int32)

    def _manifest(self) -> dict[str, Any]:
        return {
            "format": "stseg.pseudo_labels",
            "version": FORMAT_VERSION,
            "round": self.round_number,
            "digest": self.key.digest,
            **self.key.describe(),
            "class_names": list(self.names),
            "label_bits": self.bits,
            "ignore_value": self.ignore_value,
        }

    def _check_manifest(self) -> None:
        path = self._manifest_file
        try:
            found = json.loads(path.read_bytes())
            differing = [k for k, v in self._manifest().items() if found.get(k) != v]
        except (ValueError, AttributeError) as e:
            raise ValueError(
                f"Pseudo-label manifest {path}: expected what this program wrote, got {e}. "
                f"Remove the folder {self.folder}; it is made anew."
            ) from e
        if differing:
            raise ValueError(
                f"Pseudo-labels in {self.folder}: expected a folder of this run, got another "
                f"{', '.join(differing)}. Move the folder away, or give another output folder."
            )

    @contextmanager
    def _full_disk_explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as e:
            if e.errno not in _DISK_FULL:
                raise
            raise DiskFullError(e.errno, self._disk_full_text()) from e

    def _disk_full_text(self) -> str:
        used, left = self.disk_use(), len(self.missing())
        done = len(self) - left
        needed = f"about {_megabytes(used * left / done)} more" if done else "some space"
        return (
            f"Pseudo-labels in {self.folder}: expected free space on the disk, got none left. "
            f"{done} of {len(self)} images ({_megabytes(used)}) are written and stay valid. "
            f"Make room for {needed} (or move the folder to a larger disk and set OUTPUT_DIR), "
            "then run the same command again; it goes on where it stopped."
        )


def _read_weights(path: Path) -> np.ndarray:
    return (read_label(path, 256, ()) / 255).astype(np.float32)


def _parts(manifest: dict[str, Any]) -> dict[str, Any]:
    """What a manifest tells, settings one by one, without the digest of it all."""
    parts = {k: v for k, v in manifest.items() if k not in ("digest", "settings")}
    return parts | {f"settings.{k}": v for k, v in manifest.get("settings", {}).items()}


def _megabytes(count: float) -> str:
    return f"{count / 1e6:.1f} MB"
