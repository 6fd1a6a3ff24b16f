"""Answers in plain PyTorch, all classes at full size: what streamed ones are held against."""

import torch

from stseg.modeling.scores import CellScores, LabelMap, WindowScores, resize


def plain_windows(predict, image, tiles, working_size):
    """Average of the probabilities of overlapping windows, (T, H, W).

    `predict` takes (1, 3, h, w) of the working size and gives (1, T, h', w') probabilities.
    """
    size = tuple(image.shape[-2:])
    total, count = None, image.new_zeros(size)
    for top, left, h, w in (box for row in tiles.rows_of_boxes(size) for box in row):
        window = (slice(top, top + h), slice(left, left + w))
        crop = resize(image[(..., *window)][None], working_size)
        probs = resize(predict(crop), (h, w))[0]
        if total is None:
            total = probs.new_zeros(probs.shape[0], *size)
        total[(..., *window)] += probs
        count[window] += 1
    probs = total / count
    if tiles.whole_image:
        whole = predict(resize(image[None], working_size))
        probs = (probs + resize(whole, size)[0]) / 2
    return probs


def top_classes(scores, size, k=1, activation=None):
    """Label map of the cells of a network, (T, h, w), at `size`."""
    return LabelMap.read(CellScores(scores, activation).at(size), k)


def window_scores(predict, image, tiles, working_size, activation=None):
    """Scores by windows of a network that gives (1, T, h', w') for (1, 3, h, w)."""
    size = tuple(image.shape[-2:])

    def score(part):
        return CellScores(predict(resize(part[None], working_size))[0], activation)

    def of_box(box):
        top, left, h, w = box
        return score(image[:, top : top + h, left : left + w]).at((h, w))

    whole = score(image).at(size) if tiles.whole_image else None
    return WindowScores(size, tiles.rows_of_boxes(size), of_box, whole)


def top_classes_of_tiles(predict, image, tiles, working_size, size, k=1, activation=None):
    """Label map of `window_scores` at `size`."""
    scores = window_scores(predict, image, tiles, working_size, activation)
    with torch.no_grad():
        return LabelMap.read(scores.at(size), k)
