"""Words as a file that needs no torch: their embeddings, and what belongs to them.

Shapes: T classes, S names, P templates, C channels of the embedding.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from stseg.modeling.meta_arch import OpenVocabSegmentor
from stseg.structures import Vocabulary
from stseg.utils import write_atomically


@torch.no_grad()
def write_words(model: OpenVocabSegmentor, vocabulary: Vocabulary, path: Path) -> None:
    """Embed a vocabulary, and write what the graph of the scores takes beside features.

    Args:
        model: whose graphs are asked.
        vocabulary: T classes; its background policy is not written.
        path: .npz to write, with "names" (T,) texts, "embeds" (S, P, C) float32, "classes" (S,)
            int64, the class of each name, and "seen" (T,) bool, which classes had labels in
            training; all False where that is unknown or does not matter.

    Raises:
        ValueError: for a class without words, where the model scores it by a rule of its own.
    """
    if vocabulary.rest is not None and not getattr(model.text_encoder, "embeds_rest", True):
        raise ValueError(
            f"Vocabulary rest: expected words for every class of {type(model).__name__}, whose "
            f"graphs score words alone, got {vocabulary.names[vocabulary.rest]!r}, which has none. "
            'Take "rest" out of the file.'
        )
    found = model.embed(vocabulary)
    marks = model.seen_marks(vocabulary)
    arrays = {
        "names": np.array(vocabulary.names),
        "embeds": found.embeds.float().cpu().numpy(),
        "classes": found.class_index.cpu().numpy(),
        "seen": np.zeros(len(vocabulary), bool) if marks is None else marks.cpu().numpy(),
    }
    write_atomically(path, lambda file: np.savez(file, **arrays))
