"""Label a picture with the files of `stseg export`: NumPy, Pillow and onnxruntime, no torch.

    stseg export --format onnx --config stseg_mini --words "star; kite; grass; sky" --output graphs
    python demo/onnx_labels.py graphs scene.png labels.png

`label_picture` is all there is to it; `read_labels` does what the files' metadata says under
"labels". Labels are those of `stseg predict` but where two classes are level up to rounding (1e-4),
where a transparent picture is not put on white, and where graphs of one size, which pictures are
resized to here, stand for a system that works at the size of each picture.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

#: Rows of the picture that are labelled at once: less memory than all classes at full size.
ROWS = 64


def label_picture(folder: Path, picture: Path) -> tuple[np.ndarray, list[str]]:
    """Class ids (H, W) of a picture, and the classes' names."""
    from onnxruntime import InferenceSession

    encode, logits = (InferenceSession(folder / f"{name}.onnx") for name in ("encode", "logits"))
    about = json.loads(encode.get_modelmeta().custom_metadata_map["stseg"])
    words = dict(np.load(folder / "words.npz"))
    photo = ImageOps.exif_transpose(Image.open(picture)).convert("RGB")
    image = fitted(photo, about)
    features = encode.run(about["features"], {"image": image})
    asked = words | dict(zip(about["features"], features, strict=True))
    given = {x.name: asked[x.name] for x in logits.get_inputs()}
    outputs = logits.run(about["outputs"], given)
    labels = read_labels(outputs, about, image.shape[1:], (photo.height, photo.width))
    return labels, words["names"].tolist()


def fitted(photo: Image.Image, about: dict[str, Any]) -> np.ndarray:
    """The picture as the first graph takes it, (3, H, W) float32."""
    height, width = about["size"] or (photo.height, photo.width)
    if not about["size"] and about["min_size"]:
        scale = about["min_size"] / min(height, width)
        scale = min(scale, about["max_size"] / max(height, width))
        height, width = (max(int(side * scale + 0.5), 1) for side in (height, width))
    resized = photo.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized, np.float32).transpose(2, 0, 1)


def read_labels(
    outputs: list[np.ndarray],
    about: dict[str, Any],
    seen: tuple[int, ...],
    size: tuple[int, int],
) -> np.ndarray:
    """The best class of every pixel, as the metadata says.

    Args:
        outputs: of the second graph.
        about: the metadata.
        seen: (H, W) that the first graph was given.
        size: (H, W) of the picture.
    """
    reading, maps, rows = about["reading"], outputs[0][0], outputs[-1][0]
    if reading == "sigmoid":
        maps = sigmoid(maps)
    elif reading == "softmax":
        maps = maps - maps.max(0)
        maps = np.maximum(maps - np.log(np.exp(maps).sum(0)), -80)
    elif reading == "masks":
        sides = (side * about["mask_stride"] for side in maps.shape[1:])
        maps = resize(maps, *sides)[:, : seen[0], : seen[1]]
    labels = np.empty(size, np.uint16)
    for top in range(0, size[0], ROWS):
        scores = resize(maps, *size, slice(top, top + ROWS))
        if reading == "masks":
            scores = np.tensordot(rows.T, sigmoid(scores), 1)
        elif reading == "groups":
            scores = rows.T[:, scores.argmax(0)]
        labels[top : top + ROWS] = scores.argmax(0)
    return labels


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def resize(maps: np.ndarray, height: int, width: int, rows: slice = slice(None)) -> np.ndarray:
    """Bilinear, half-pixel centres, no antialiasing: some rows of (M, h, w) at another size."""
    for axis, side, part in ((1, height, rows), (2, width, slice(None))):
        cells = maps.shape[axis]
        place = (np.arange(side, dtype=np.float32)[part] + 0.5) * np.float32(cells / side) - 0.5
        place = place.clip(0, cells - 1)
        first = place.astype(int)
        share = np.expand_dims(place - first, (0, 3 - axis))
        low, high = (maps.take(x, axis) for x in (first, np.minimum(first + 1, cells - 1)))
        maps = low + (high - low) * share
    return maps


def main() -> None:
    """Command line, see `--help`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="of encode.onnx, logits.onnx and words.npz")
    parser.add_argument("picture", type=Path, help="to label")
    parser.add_argument("labels", type=Path, help=".png to write: class ids")
    args = parser.parse_args()
    labels, names = label_picture(args.folder, args.picture)
    Image.fromarray(labels.astype(np.uint8) if len(names) <= 256 else labels).save(args.labels)
    for i in np.unique(labels):
        print(f"{i:4} {names[i]}: {(labels == i).mean():.1%}")


if __name__ == "__main__":
    main()
