"""CLIP's frozen text tower: a vocabulary in, unit embeddings of every prompt out, cached.

Shapes: S names, P templates, C channels of the embedding.
"""

from collections.abc import Callable, Sequence
from functools import cache

import open_clip
import torch
from detectron2.config import CfgNode
from torch import Tensor, nn
from torch.nn import functional as F

from stseg.modeling.text.cache import EmbeddingCache
from stseg.modeling.text.class_embeddings import ClassEmbeddings
from stseg.modeling.text.tower import TextTower
from stseg.modeling.text.vocabulary_encoder import VocabularyEncoder
from stseg.structures import Vocabulary
from stseg.utils import phase


class CLIPTextEncoder(VocabularyEncoder):
    """Text tower of an open_clip model, always frozen and in evaluation mode."""

    def __init__(
        self,
        clip: nn.Module,
        tokenizer: Callable[[list[str]], Tensor],
        *,
        templates: Sequence[str] | None = None,
        synonyms: str = "max",
        chunk_size: int = 512,
        dtype: str = "fp32",
        cache_dir: str = "",
        cache_limit: float = 0.0,
        cache_names: int = 2048,
    ):
        """Wrap a tower.

        Args:
            clip: open_clip model; its image tower is removed from it.
            tokenizer: texts -> (N, context) int64 token ids, padded with 0 after the end token.
            templates: P prompts, each with one "{}" for the name; None for the 80 of ImageNet.
            synonyms: "max" keeps a row per name, so that a class scores as its best name; "mean"
                averages a class's names into one row, as SED's published figures were made;
                "first" asks for the first name alone, "verbatim" for all in one text with commas.
            chunk_size: prompts per forward pass.
            dtype: "fp32", "bf16" or "fp16", what the tower computes in; its weights stay.
            cache_dir: folder of embeddings on disk (a file per name), "" for none.
            cache_limit: of that folder, GiB; 0 for none.
            cache_names: rows kept in memory, on the tower's device (about 0.2 MB each for 80
                templates of 640 floats); the latest vocabulary's are kept whatever their number.

        Raises:
            ValueError: for an unknown synonym rule or dtype, or a chunk size below 1.
        """
        super().__init__(
            tokenizer,
            templates=["imagenet_80"] if templates is None else templates,
            synonyms=synonyms,
            chunk_size=chunk_size,
            dtype=dtype,
            cache=EmbeddingCache(cache_dir, cache_names, cache_limit),
        )
        clip.visual = None
        self.tower = TextTower(clip).requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> "CLIPTextEncoder":
        """Stay in evaluation mode whatever the rest of the model does."""
        del mode
        return super().train(False)

    @property
    def logit_scale(self) -> Tensor:
        """What CLIP learnt to multiply a cosine with, a scalar; 100 where it was OpenAI's."""
        return self.tower.clip.logit_scale.exp()

    def forward(self, vocabulary: Vocabulary) -> ClassEmbeddings:
        """Embed a vocabulary, or take it from the cache, see `from_cache`.

        Returns:
            Rows in the vocabulary's order, float32, on the tower's device. They are the cache's
            own, not to be written to.

        Raises:
            ValueError: if two names are alike as far as the tower reads them.
        """
        return self.from_cache(vocabulary)

    def embed_names(self, names: Sequence[str]) -> Tensor:
        """(n, P, C) of n names, unit length."""
        embeds = self.encode_prompts(self.prompts(names))
        return embeds.unflatten(0, (len(names), len(self.templates)))

    @phase("embed texts")
    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Embed texts, `chunk_size` of them in one pass; those that begin alike go together.

        Args:
            prompts: N texts.

        Returns:
            (N, C) float32, unit length, in the order given.
        """
        with self.precision():
            embeds = self.tower.in_chunks(self.tokenizer(list(prompts)), self.chunk_size)
        return F.normalize(embeds.float(), dim=-1)


@cache
def _tokenizer(name: str) -> Callable[[list[str]], Tensor]:
    """The architecture's own, which reads its table of merges anew whenever it is made."""
    return open_clip.get_tokenizer(name)


def build_text_encoder(cfg: CfgNode, clip: nn.Module) -> CLIPTextEncoder:
    """The text side of `clip`, by `MODEL.TEXT.*`; the tokenizer is the architecture's own."""
    text = cfg.MODEL.TEXT
    return CLIPTextEncoder(
        clip,
        _tokenizer(cfg.MODEL.CLIP.NAME),
        templates=text.TEMPLATES,
        synonyms=text.SYNONYMS,
        chunk_size=text.CHUNK_SIZE,
        dtype=text.DTYPE,
        cache_dir=text.CACHE_DIR,
        cache_limit=text.CACHE_GIB,
    )
