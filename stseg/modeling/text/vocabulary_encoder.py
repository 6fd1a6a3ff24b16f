"""What text encoders share: the rows that a vocabulary asks for, made anew or kept from before.

Shapes: S names, P templates, C channels of the embedding.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from stseg.config import check
from stseg.modeling.text.cache import EmbeddingCache, Entry, WeightsHash
from stseg.modeling.text.class_embeddings import ClassEmbeddings
from stseg.modeling.text.lengths import check_lengths
from stseg.modeling.text.templates import load_templates
from stseg.structures import Vocabulary

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
#: What a rule of synonyms asks for: each entry a row, the mean of the names in it.
_ENTRIES: dict[str, Callable[[Entry], Sequence[Entry]]] = {
    "max": lambda group: [(name,) for name in group],
    "mean": lambda group: [group],
    "first": lambda group: [group[:1]],
    "verbatim": lambda group: [(", ".join(group),)],
}
# Prompts made into embeddings before they are written to disk: a few seconds' work.
_BLOCK_CHUNKS = 4


class VocabularyEncoder(nn.Module):
    """A text tower to be asked for vocabularies; how names are embedded is for each kind to say.

    Attributes:
        tower: set by each kind.
        embeds_rest: whether the class without words is asked for by its name; else it has no row.
    """

    tower: nn.Module
    embeds_rest = True

    def __init__(
        self,
        tokenizer: Callable[[list[str]], Tensor],
        *,
        templates: Sequence[str],
        synonyms: str,
        chunk_size: int,
        dtype: str,
        cache: EmbeddingCache,
    ):
        """Keep how texts are made; see the kinds for the arguments.

        Raises:
            ValueError: for an unknown synonym rule or dtype, or a chunk size below 1.
        """
        super().__init__()
        self.tokenizer = tokenizer
        self.templates = load_templates(*templates)
        self.synonyms = check("MODEL.TEXT.SYNONYMS", synonyms)
        self.chunk_size = check("MODEL.TEXT.CHUNK_SIZE", chunk_size)
        self.dtype = check("MODEL.TEXT.DTYPE", dtype)
        self._cache = cache
        self._weights_hash = WeightsHash()
        self._checked: set[str] = set()  # keys of vocabularies

    @property
    def device(self) -> torch.device:
        """Where the tower is."""
        return next(self.tower.parameters()).device

    def embed_names(self, names: Sequence[str]) -> Tensor:
        """Embed names under the templates.

        Args:
            names: n of them.

        Returns:
            (n, P, C), unit length, on the tower's device; P is 1 where templates are averaged.
        """
        raise NotImplementedError

    def weights(self) -> nn.Module:
        """The module on whose tensors an embedding depends."""
        return self.tower

    # Not in inference mode even if the caller is: what is cached must serve training, too. And
    # names are looked up by Python, of which a compiler makes nothing.
    @torch._dynamo.disable
    @torch.inference_mode(False)
    @torch.no_grad()
    def from_cache(self, vocabulary: Vocabulary) -> ClassEmbeddings:
        """Embed a vocabulary without gradient, or take it from the cache.

        The cache key covers text weights, names, templates, tokenizer and precision, so that
        nothing stale is ever returned.

        Returns:
            Rows in the vocabulary's order. They are the cache's own, not to be written to.

        Raises:
            ValueError: if two names are alike as far as the tower reads them.
        """
        return self.rows(vocabulary, self._cached)

    def rows(
        self, vocabulary: Vocabulary, embed: Callable[[Sequence[Entry]], Tensor]
    ) -> ClassEmbeddings:
        """Rows of a vocabulary by its rule of synonyms.

        Args:
            vocabulary: its class without words has no row unless `embeds_rest`.
            embed: S entries, repeated ones included, to (S, P, C).

        Raises:
            ValueError: if two names are alike as far as the tower reads them.
        """
        rest = None if self.embeds_rest else vocabulary.rest
        groups = [group for i, group in enumerate(vocabulary.synonyms) if i != rest]
        asked = [_ENTRIES[self.synonyms](group) for group in groups]
        if vocabulary.key not in self._checked:
            check_lengths(asked, self.tokenizer, self.templates)
            self._checked.add(vocabulary.key)
        embeds = embed([entry for of_class in asked for entry in of_class])
        index = torch.arange(len(groups)).repeat_interleave(torch.tensor([len(x) for x in asked]))
        return ClassEmbeddings(embeds, index.to(self.device), len(groups))

    def embed_entries(self, entries: Sequence[Entry]) -> Tensor:
        """(n, P, C), the mean of each entry's names, unit length."""
        names = [name for entry in entries for name in entry]
        embeds = self.embed_names(names)
        if len(names) == len(entries):
            return embeds
        counts = torch.tensor([len(entry) for entry in entries])
        index = torch.arange(len(entries)).repeat_interleave(counts).to(embeds.device)
        return ClassEmbeddings(embeds, index, len(entries)).mean_over_synonyms().embeds

    def prompts(self, names: Sequence[str]) -> list[str]:
        """Every name under every template, those of a name together."""
        return [template.replace("{}", name) for name in names for template in self.templates]

    def precision(self) -> AbstractContextManager[None]:
        """What `dtype` asks for, whatever surrounds it."""
        lower = self.dtype != "fp32"
        return torch.autocast(
            self.device.type, DTYPES[self.dtype] if lower else None, enabled=lower
        )

    def _cached(self, entries: Sequence[Entry]) -> Tensor:
        return self._cache.get(
            self._key(),
            entries,
            self.embed_entries,
            block=max(1, _BLOCK_CHUNKS * self.chunk_size // len(self.templates)),
            device=self.device,
        )

    def _key(self) -> str:
        """Hash of all that an embedding depends on besides its name."""
        # What the tokenizer makes of two telling texts stands for the tokenizer itself.
        told = self.tokenizer(["a photo of a cat.", "Zebra-crossing, 42!"]).tolist()
        # On a GPU fp32 may mean TF32.
        matmul = torch.get_float32_matmul_precision() if self.device.type != "cpu" else ""
        weights = self._weights_hash.of(self.weights())
        parts = [weights, list(self.templates), told, self.dtype, matmul]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
