"""CLIP's frozen text tower: a vocabulary in, unit embeddings of every prompt out, cached.

Shapes: S names, P templates, C channels of the embedding.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cache

import open_clip
import torch
from detectron2.config import CfgNode
from torch import Tensor, nn
from torch.nn import functional as F

from stseg.config import check
from stseg.modeling.text.cache import EmbeddingCache, Entry, WeightsHash
from stseg.modeling.text.class_embeddings import ClassEmbeddings
from stseg.modeling.text.lengths import check_lengths
from stseg.modeling.text.prefix import lexicographic_order
from stseg.modeling.text.templates import load_templates
from stseg.modeling.text.tower import TextTower
from stseg.structures import Vocabulary
from stseg.utils import phase

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


class CLIPTextEncoder(nn.Module):
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
        super().__init__()
        clip.visual = None
        self.tower = TextTower(clip).requires_grad_(False)
        self.tokenizer = tokenizer
        self.templates = load_templates(*(["imagenet_80"] if templates is None else templates))
        self.synonyms = check("MODEL.TEXT.SYNONYMS", synonyms)
        self.chunk_size = check("MODEL.TEXT.CHUNK_SIZE", chunk_size)
        self.dtype = check("MODEL.TEXT.DTYPE", dtype)
        self._cache = EmbeddingCache(cache_dir, cache_names, cache_limit)
        self._weights_hash = WeightsHash()
        self._checked: set[str] = set()  # keys of vocabularies
        self.train(False)

    def train(self, mode: bool = True) -> "CLIPTextEncoder":
        """Stay in evaluation mode whatever the rest of the model does."""
        del mode
        return super().train(False)

    @property
    def device(self) -> torch.device:
        """Where the tower is."""
        return next(self.tower.parameters()).device

    @property
    def logit_scale(self) -> Tensor:
        """What CLIP learnt to multiply a cosine with, a scalar; 100 where it was OpenAI's."""
        return self.tower.clip.logit_scale.exp()

    # Not in inference mode even if the caller is: what is cached must serve training, too. And
    # names are looked up by Python, of which a compiler makes nothing.
    @torch._dynamo.disable
    @torch.inference_mode(False)
    @torch.no_grad()
    def forward(self, vocabulary: Vocabulary) -> ClassEmbeddings:
        """Embed a vocabulary, or take it from the cache.

        The cache key covers text weights, names, templates, tokenizer and precision, so that
        nothing stale is ever returned.

        Returns:
            Rows in the vocabulary's order, float32, on the tower's device. They are the cache's
            own, not to be written to.

        Raises:
            ValueError: if two names are alike as far as the tower reads them.
        """
        groups = vocabulary.synonyms
        asked = [_ENTRIES[self.synonyms](group) for group in groups]
        if vocabulary.key not in self._checked:
            check_lengths(asked, self.tokenizer, self.templates)
            self._checked.add(vocabulary.key)
        entries = [entry for of_class in asked for entry in of_class]
        embeds = self._cache.get(
            self._key(),
            entries,
            self._encode,
            block=max(1, _BLOCK_CHUNKS * self.chunk_size // len(self.templates)),
            device=self.device,
        )
        index = torch.arange(len(groups)).repeat_interleave(torch.tensor([len(x) for x in asked]))
        return ClassEmbeddings(embeds, index.to(self.device), len(groups))

    def _encode(self, entries: Sequence[Entry]) -> Tensor:
        """(n, P, C), the mean of each entry's names, unit length."""
        names = [name for entry in entries for name in entry]
        prompts = [template.replace("{}", name) for name in names for template in self.templates]
        embeds = self.encode_prompts(prompts).unflatten(0, (len(names), len(self.templates)))
        if len(names) == len(entries):
            return embeds
        counts = torch.tensor([len(entry) for entry in entries])
        index = torch.arange(len(entries)).repeat_interleave(counts).to(embeds.device)
        return ClassEmbeddings(embeds, index, len(entries)).mean_over_synonyms().embeds

    @phase("embed texts")
    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Embed texts, `chunk_size` of them in one pass; those that begin alike go together.

        Args:
            prompts: N texts.

        Returns:
            (N, C) float32, unit length, in the order given.
        """
        tokens = self.tokenizer(list(prompts))
        order = lexicographic_order(tokens)
        embeds = []
        lower = self.dtype != "fp32"
        with torch.autocast(self.device.type, DTYPES[self.dtype] if lower else None, enabled=lower):
            for rows in order.split(self.chunk_size):
                embeds.append(F.normalize(self.tower(tokens[rows]).float(), dim=-1))
        return torch.cat(embeds)[order.argsort().to(self.device)]

    def _key(self) -> str:
        """Hash of all that an embedding depends on besides its name."""
        # What the tokenizer makes of two telling texts stands for the tokenizer itself.
        told = self.tokenizer(["a photo of a cat.", "Zebra-crossing, 42!"]).tolist()
        # On a GPU fp32 may mean TF32.
        matmul = torch.get_float32_matmul_precision() if self.device.type != "cpu" else ""
        weights = self._weights_hash.of(self.tower)
        parts = [weights, list(self.templates), told, self.dtype, matmul]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


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
