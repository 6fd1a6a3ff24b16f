"""CLIP's frozen text tower: a vocabulary in, unit embeddings of every prompt out, cached.

Shapes: S names, P templates, C channels of the embedding.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import open_clip
import torch
from detectron2.config import CfgNode
from torch import Tensor, nn
from torch.nn import functional as F

from stseg.files import write_atomically
from stseg.modeling.text.class_embeddings import ClassEmbeddings
from stseg.modeling.text.prefix import lexicographic_order
from stseg.modeling.text.tower import TextTower
from stseg.structures import Vocabulary

SYNONYM_RULES = ("max", "mean")
logger = logging.getLogger(__name__)


class CLIPTextEncoder(nn.Module):
    """Text tower of an open_clip model, always frozen and in evaluation mode."""

    def __init__(
        self,
        clip: nn.Module,
        tokenizer: Callable[[list[str]], Tensor],
        *,
        synonyms: str = "max",
        chunk_size: int = 512,
        cache_dir: str = "",
        cache_names: int = 2048,
    ):
        """Wrap a tower.

        Args:
            clip: open_clip model; its image tower is removed from it.
            tokenizer: texts -> (N, context) int64 token ids, padded with 0 after the end token.
            synonyms: "max" keeps a row per name, so that a class scores as its best name; "mean"
                averages a class's names into one row, as SED's published figures were made.
            chunk_size: prompts per forward pass.
            cache_dir: folder of embeddings on disk, "" for none.
            cache_names: names kept in memory (about 0.2 MB each for 80 templates of 640 floats).

        Raises:
            ValueError: for an unknown synonym rule or a chunk size below 1.
        """
        super().__init__()
        if synonyms not in SYNONYM_RULES:
            raise ValueError(
                f"MODEL.TEXT.SYNONYMS: expected one of {SYNONYM_RULES}, got {synonyms!r}."
            )
        if chunk_size < 1:
            raise ValueError(f"MODEL.TEXT.CHUNK_SIZE: expected at least 1, got {chunk_size}.")
        clip.visual = None
        self.tower = TextTower(clip).requires_grad_(False)
        self.tokenizer = tokenizer
        self.synonyms = synonyms
        self.chunk_size = chunk_size
        self._cache = _EmbeddingCache(cache_dir, cache_names)
        self.train(False)

    def train(self, mode: bool = True) -> "CLIPTextEncoder":
        """Stay in evaluation mode whatever the rest of the model does."""
        del mode
        return super().train(False)

    @property
    def device(self) -> torch.device:
        """Where the tower is."""
        return next(self.tower.parameters()).device

    # Not in inference mode even if the caller is: what is cached must serve training, too.
    @torch.inference_mode(False)
    @torch.no_grad()
    def forward(self, vocabulary: Vocabulary) -> ClassEmbeddings:
        """Embed a vocabulary, or take it from the cache.

        The cache key covers text weights, names, templates and tokenizer, so that nothing stale
        is ever returned.

        Returns:
            Rows in the vocabulary's order, float32, on the tower's device.
        """
        names = [name for group in vocabulary.synonyms for name in group]
        counts = torch.tensor([len(group) for group in vocabulary.synonyms])

        def encode(missing: Sequence[str]) -> Tensor:
            prompts = [template.format(n) for n in missing for template in vocabulary.templates]
            return self.encode_prompts(prompts).cpu().unflatten(0, (len(missing), -1))

        embeds = self._cache.get(self._key(vocabulary), names, encode).to(self.device)
        index = torch.arange(len(vocabulary)).repeat_interleave(counts).to(self.device)
        embeddings = ClassEmbeddings(embeds, index, len(vocabulary))
        return embeddings.mean_over_synonyms() if self.synonyms == "mean" else embeddings

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
        with torch.autocast(self.device.type, enabled=False):
            for rows in order.split(self.chunk_size):
                embeds.append(F.normalize(self.tower(tokens[rows]).float(), dim=-1))
        return torch.cat(embeds)[order.argsort().to(self.device)]

    def _key(self, vocabulary: Vocabulary) -> str:
        """Hash of all that an embedding depends on besides its name."""
        parts = [self._cache.weights_hash(self.tower), *vocabulary.templates]
        # What the tokenizer makes of two telling texts stands for the tokenizer itself.
        parts.append(str(self.tokenizer(["a photo of a cat.", "Zebra-crossing, 42!"]).tolist()))
        return hashlib.sha256("|".join(parts).encode()).hexdigest()


class _EmbeddingCache:
    """Embeddings of names in memory, the latest few thousand; of whole vocabularies on disk."""

    def __init__(self, folder: str, most: int):
        self.folder = Path(folder).expanduser() if folder else None
        self.most = most
        self.memory: dict[tuple[str, str], Tensor] = {}
        self.hashed: tuple[tuple, str] | None = None

    def get(
        self, key: str, names: Sequence[str], make: Callable[[Sequence[str]], Tensor]
    ) -> Tensor:
        """Embeddings (S, P, C) of `names`; `make` is asked for those that are nowhere."""
        known = {name: self.memory.pop((key, name), None) for name in dict.fromkeys(names)}
        missing = [name for name, embeds in known.items() if embeds is None]
        if missing:
            path = self._path(key, names)
            stored = _read(path) if path else None
            if stored is not None:
                known.update(zip(names, stored, strict=True))
            else:
                known.update(zip(missing, make(missing), strict=True))
        embeds = torch.stack([known[name] for name in names])
        if missing and path and stored is None:
            _write(path, embeds)
        for name, row in zip(names, embeds, strict=True):
            self.memory[key, name] = row.clone()  # now the latest
        while len(self.memory) > self.most:
            self.memory.pop(next(iter(self.memory)))
        return embeds

    def _path(self, key: str, names: Sequence[str]) -> Path | None:
        if self.folder is None:
            return None
        digest = hashlib.sha256("\n".join([key, *names]).encode()).hexdigest()
        return self.folder / f"{digest}.pt"

    def weights_hash(self, tower: nn.Module) -> str:
        """SHA-256 of the weights; computed again only when a tensor was written to or replaced."""
        state = sorted(tower.state_dict(keep_vars=True).items())
        stamp = tuple((name, t.data_ptr(), t._version) for name, t in state)
        if self.hashed is None or self.hashed[0] != stamp:
            digest = hashlib.sha256()
            for name, tensor in state:
                digest.update(name.encode())
                digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
            self.hashed = (stamp, digest.hexdigest())
        return self.hashed[1]


def _read(path: Path) -> Tensor | None:
    if not path.is_file():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        logger.warning("Text cache %s cannot be read (%s); encoding again.", path, error)
        return None


def _write(path: Path, embeds: Tensor) -> None:
    """Write atomically; a folder that cannot be written costs the cache, not the run."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: torch.save(embeds, file))
    except OSError as error:
        logger.warning("Text cache %s cannot be written (%s); going on without.", path, error)


def build_text_encoder(cfg: CfgNode, clip: nn.Module) -> CLIPTextEncoder:
    """The text side of `clip`, by `MODEL.TEXT.*`; the tokenizer is the architecture's own."""
    text = cfg.MODEL.TEXT
    return CLIPTextEncoder(
        clip,
        open_clip.get_tokenizer(cfg.MODEL.CLIP.NAME),
        synonyms=text.SYNONYMS,
        chunk_size=text.CHUNK_SIZE,
        cache_dir=os.path.expandvars(text.CACHE_DIR),
    )
