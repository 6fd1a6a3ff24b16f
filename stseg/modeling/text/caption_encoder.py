"""A text tower that learns from captions, with the map from its features to those of images.

GroupViT (Xu et al., CVPR 2022) and PGSeg (NeurIPS 2023) train CLIP's tower anew, smaller.

Shapes: B captions, L tokens of the longest, S names, C channels of the embedding.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from open_clip.transformer import QuickGELU, TextTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from stseg.modeling.text.cache import EmbeddingCache
from stseg.modeling.text.class_embeddings import ClassEmbeddings
from stseg.modeling.text.tower import TextTower
from stseg.modeling.text.vocabulary_encoder import VocabularyEncoder
from stseg.structures import Vocabulary
from stseg.utils import phase


class CaptionFeatures(NamedTuple):
    """What captions are to a tower.

    Attributes:
        words: (B, L, width), each token after the last norm, start and end token included.
        mask: (B, L) bool, True up to the end token; what `words` has behind it means nothing.
        features: (B, width), the words' row of the end token.
        embeds: (B, C), features after the projector, not normalised.
    """

    words: Tensor
    mask: Tensor
    features: Tensor
    embeds: Tensor


class CaptionTextEncoder(VocabularyEncoder):
    """A causal tower of CLIP's own blocks and a projector, both of which train.

    A class's templates are averaged after the projector, before they are made unit, so that
    embeddings have one prompt (P = 1). The class without words is not asked for.
    """

    embeds_rest = False

    def __init__(
        self,
        tokenizer: Callable[[list[str]], Tensor],
        *,
        projector: nn.Module,
        width: int = 256,
        layers: int = 12,
        heads: int = 4,
        context_length: int = 77,
        vocab_size: int = 49408,
        templates: Sequence[str] = ("single",),
        synonyms: str = "max",
        chunk_size: int = 512,
        dtype: str = "fp32",
        cache_names: int = 2048,
    ):
        """Draw a tower; the sizes' defaults are PGSeg's.

        Its start is CLIP's, as open_clip draws it: tokens with deviation 0.02, positions 0.01, the
        blocks' matrices by their width and number.

        Args:
            tokenizer: texts -> (N, context_length) int64 token ids, padded with 0 after the end
                token, which has the highest id; texts that are too long are cut before it.
            projector: (N, width) -> (N, C).
            width: channels of the tower.
            layers: blocks.
            heads: divides `width`.
            context_length: most tokens of a text, start and end token included.
            vocab_size: token ids.
            templates: prompts, each with one "{}" for the name, or sets that ship.
            synonyms: as `CLIPTextEncoder` has it.
            chunk_size: prompts that pass the tower at once.
            dtype: "fp32", "bf16" or "fp16", what names are embedded in, in evaluation; training is
                left to the caller's autocast.
            cache_names: rows kept in memory in evaluation.

        Raises:
            ValueError: for an unknown synonym rule or dtype, or a chunk size below 1.
        """
        super().__init__(
            tokenizer,
            templates=templates,
            synonyms=synonyms,
            chunk_size=chunk_size,
            dtype=dtype,
            cache=EmbeddingCache("", cache_names),
        )
        text = TextTransformer(
            context_length=context_length,
            vocab_size=vocab_size,
            width=width,
            heads=heads,
            layers=layers,
            proj_type="none",
            act_layer=QuickGELU,
        )
        self.tower = TextTower(text)
        self.projector = projector

    def weights(self) -> nn.Module:
        """Tower and projector."""
        return self

    @torch._dynamo.disable
    def forward(self, vocabulary: Vocabulary) -> ClassEmbeddings:
        """Embed a vocabulary: anew and with gradient in training, else from the cache.

        In training a projector with BatchNorm takes all prompts of the vocabulary as its batch.

        Returns:
            One row (1, C) per name, by the rule of synonyms, on the tower's device. Those of the
            cache are not to be written to.

        Raises:
            ValueError: if two names are alike as far as the tower reads them.
        """
        if self.training:
            return self.rows(vocabulary, self.embed_entries)
        return self.from_cache(vocabulary)

    def embed_names(self, names: Sequence[str]) -> Tensor:
        """(n, 1, C) of n names, unit length."""
        embeds = self._project(self.prompts(names))
        embeds = embeds.unflatten(0, (len(names), len(self.templates)))
        return F.normalize(embeds.mean(1, keepdim=True), dim=-1)

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Embed N texts as they are, without gradient: (N, C), unit length."""
        return F.normalize(self._project(prompts), dim=-1)

    def encode_captions(self, texts: Sequence[str]) -> CaptionFeatures:
        """Embed captions, with gradient, in the caller's precision.

        Args:
            texts: B of them; an empty one is a start and an end token.

        Raises:
            ValueError: if there is none, or the tokenizer does not belong to the tower.
            TypeError: for one text instead of a list.
        """
        if isinstance(texts, str):
            raise TypeError(f"captions: expected a list of texts, got {texts!r}. Give [text].")
        if not len(texts):
            raise ValueError("captions: expected at least one text, got none.")
        tokens = self._tokens(texts)
        ends = tokens.argmax(dim=1)
        length = int(ends.max()) + 1  # attention is causal: no end token sees what is behind it
        text = self.tower.clip
        x = text.token_embedding(tokens[:, :length].to(self.device))
        x = x + text.positional_embedding[:length]
        x = text.transformer(x, attn_mask=text.attn_mask[:length, :length])
        words, ends = text.ln_final(x), ends.to(self.device)
        mask = torch.arange(length, device=self.device) <= ends[:, None]
        features = words[torch.arange(len(ends), device=self.device), ends]
        return CaptionFeatures(words, mask, features, self.projector(features))

    @phase("embed texts")
    def _project(self, prompts: Sequence[str]) -> Tensor:
        """(N, C) of N prompts, in float32 at least, not normalised."""
        with nullcontext() if self.training else self.precision():
            features = self.tower.in_chunks(self._tokens(prompts), self.chunk_size)
            embeds = self.projector(features)
        return embeds.to(torch.promote_types(embeds.dtype, torch.float32))

    def _tokens(self, texts: Sequence[str]) -> Tensor:
        tokens, text = self.tokenizer(list(texts)), self.tower.clip
        longest, highest = tokens.shape[1], int(tokens.max())
        if longest > text.context_length or highest >= text.vocab_size:
            raise ValueError(
                f"tokenizer: expected at most {text.context_length} tokens of a text, and ids "
                f"below {text.vocab_size}, got {longest} and {highest}. Give the tokenizer that "
                "belongs to the tower's context_length and vocab_size."
            )
        return tokens
