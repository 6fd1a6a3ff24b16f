"""The training behind `stseg.photo_clip.noun_training`, whose head says what it learns from."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stseg.checkpoint import in_short, read_checkpoint
from stseg.engine import StepwiseTrainer, build_adamw, lr_factor
from stseg.modeling.encoders import create_clip
from stseg.modeling.text import CLIPTextEncoder, KnownWords, load_templates
from stseg.photo_clip.kinship import Kinship, classes_told_by
from stseg.photo_clip.lineage import classes_by_kind
from stseg.photo_clip.noun_judging import judge
from stseg.photo_clip.noun_tower import MODEL_NAME, NounTower, tokens_used
from stseg.photo_clip.nouns import Noun, held_out_names, load_nouns, without
from stseg.photo_clip.recipe import NounRecipe
from stseg.photo_clip.trunk import class_vectors, package_entry, read_trunk
from stseg.utils import write_atomically

_DROPPED = 0.3  # of prompts are names alone
_SMOOTHING = 0.05
_HIGHEST_SCALE = 50.0
_WEIGHT = 20.0


class NounTrainer(StepwiseTrainer):
    """One run: the tower, the class vectors and the texts."""

    def __init__(self, recipe: NounRecipe, device: torch.device | str):
        torch.manual_seed(recipe.seed)
        trunk, self._packaged = read_trunk()
        self._held_out = held_out_names(recipe.held_out, recipe.seed)
        self._classes = without(load_nouns("imagenet-1k"), self._held_out)
        nouns = without(load_nouns("imagenet-22k"), self._held_out)
        self._nouns = [noun for noun in nouns if noun.names and noun.gloss]
        self._templates = load_templates("imagenet_80")
        texts = [text for noun in (*self._nouns, *self._classes) for text in _texts_of(noun)]
        model = NounTower(tokens_used((*texts, *self._templates), recipe.least), recipe.rank)
        model.vectors = nn.Parameter(class_vectors(trunk, model.channels))
        # Of texts against classes, of names against definitions, of words that fit or do not.
        model.scales = nn.Parameter(torch.tensor([20.0, 15.0, 10.0]).log())
        model.offset = nn.Parameter(torch.tensor(0.3))  # likeness of a word that fits or not
        model.to(device).train()
        names = sorted({name for noun in self._nouns for name in noun.names})
        told = {
            **classes_told_by(self._classes, names),
            **classes_by_kind(self._classes, self._nouns),
        }
        self._told = [told[word] for word in sorted(told)]
        self._words = sorted(told)
        self._kinship = Kinship(self._classes, self._nouns)
        free = ("left", "scales", "vectors")
        super().__init__("text", model, build_adamw(model, recipe.lr, 0.05, free), recipe)

    def run_step(self) -> dict[str, float]:
        """One update; returns the losses."""
        recipe, rng = self.recipe, np.random.default_rng([self.recipe.seed, self.step])
        own_texts, own = self._draw_classes(rng)
        chosen = rng.choice(len(self._words), recipe.told, replace=False)
        drawn = rng.choice(len(self._nouns), recipe.nouns, replace=False)
        nouns = [self._nouns[i] for i in drawn]
        texts = [
            *own_texts,
            *(self._prompt(self._words[i], rng) for i in chosen),
            *(self._prompt(_any(noun.names, rng), rng) for noun in nouns),
            *(noun.gloss for noun in nouns),
        ]
        embeds = self.model(texts)
        of_classes, of_told, of_names, of_glosses = embeds.split(
            [len(own), len(chosen), len(nouns), len(nouns)]
        )
        count, device = len(self._classes), embeds.device
        vectors = F.normalize(self.model.vectors)
        to_class, to_gloss, to_fit = self.model.scales.exp().clamp(max=_HIGHEST_SCALE)
        right = torch.tensor(own, device=device)
        told = _marks([self._told[i] for i in chosen], count).to(device)
        fitting = torch.cat([F.one_hot(right, count).float(), told])
        akin = self._kinship.of(nouns).to(device)
        is_akin = akin.sum(1) > 0
        like_classes = torch.cat([of_classes, of_told]) @ vectors.T
        pairs = to_gloss * of_names @ of_glosses.T
        same = torch.arange(len(nouns), device=device)
        losses = {
            "class": F.cross_entropy(
                to_class * like_classes[: len(own)], right, label_smoothing=_SMOOTHING
            ),
            "told": 0.5 * _divergence(to_class * like_classes[len(own) :], told),
            "fit": fit_loss(to_fit * (like_classes - self.model.offset), fitting),
            "akin": 0.5
            * _divergence(
                to_class * torch.cat([of_names[is_akin], of_glosses[is_akin]]) @ vectors.T,
                akin[is_akin].repeat(2, 1),
            ),
            "gloss": 0.5 * (F.cross_entropy(pairs, same) + F.cross_entropy(pairs.T, same)),
        }
        lr = recipe.lr * lr_factor(self.step, recipe.steps, recipe.warmup)
        return self.update(losses, lr, average_from=recipe.warmup, highest_keep=0.99)

    def judge(self, count: int) -> dict[str, float]:
        """How the names that were held out rank their classes."""
        vectors = F.normalize(self.average.vectors)
        return judge(self.average, vectors, self._held_out, count)

    def export(self, out: Path) -> None:
        """Write clip_photo.pt, which is this text tower, and the package's trunk by reference."""
        clip = self.average.tower.clip
        state = {k: v for k, v in clip.state_dict().items() if "token_embedding" not in k}
        state["logit_scale"] = self.average.scales[0].detach()
        state["visual.trunk.classifier.vectors.weight"] = F.normalize(self.average.vectors).T
        content = in_short(
            state,
            {"token_embedding.weight": clip.token_embedding.in_short()},
            [package_entry(self._packaged, "visual.trunk.")],
        )
        content["recipe"] = asdict(self.recipe)
        write_atomically(out / "clip_photo.pt", lambda file: torch.save(content, file))
        names = {name for noun in self._classes for name in noun.names}
        words = sorted(names.union(self._words), key=str.casefold)
        write_atomically(
            out / f"clip_photo{KnownWords.SUFFIX}", "".join(f"{w}\n" for w in words).encode()
        )

    def _draw_classes(self, rng: np.random.Generator) -> tuple[list[str], list[int]]:
        """Names, and for every other class its definition, with what class each is of."""
        texts, classes = [], []
        for index in rng.choice(len(self._classes), self.recipe.classes, replace=False):
            noun = self._classes[index]
            found = [self._prompt(_any(noun.names, rng), rng)] if noun.names else []
            found += [noun.gloss] if rng.random() < 0.5 else []
            texts += found
            classes += [int(index)] * len(found)
        return texts, classes

    def _prompt(self, name: str, rng: np.random.Generator) -> str:
        return name if rng.random() < _DROPPED else _any(self._templates, rng).replace("{}", name)


def fit_loss(logits: Tensor, fitting: Tensor) -> Tensor:
    """Binary cross entropy of every word at every class, as SigLIP (Zhai et al., ICCV 2023).

    Args:
        logits: (N, K).
        fitting: (N, K), 1 where a word fits a class, else 0; at least one 1 a row.

    Returns:
        The mean over words of what those that fit cost, in the mean, and of those that do not, in
        sum over `_WEIGHT`: among a thousand classes the few that are near would else not count.
    """
    yes = (F.softplus(-logits) * fitting).sum(1) / fitting.sum(1)
    no = (F.softplus(logits) * (1 - fitting)).sum(1) / _WEIGHT
    return (yes + no).mean()


def judge_weights(args: argparse.Namespace) -> dict[str, float]:
    """The figures of the weights that the flags name, on what their training held out."""
    recipe = NounRecipe(**read_checkpoint(str(args.weights))["recipe"])
    clip = create_clip(MODEL_NAME, str(args.weights)).to(args.device).eval()
    vectors = F.normalize(clip.visual.trunk.classifier.vectors.weight.detach().T)
    encoder = CLIPTextEncoder(clip, open_clip.get_tokenizer(MODEL_NAME))
    held_out = held_out_names(recipe.held_out, recipe.seed)
    return judge(encoder.encode_prompts, vectors, held_out, args.count)


def _texts_of(noun: Noun) -> tuple[str, ...]:
    return (*noun.names, noun.gloss)


def _any(items: Sequence[Any], rng: np.random.Generator) -> Any:
    return items[int(rng.integers(len(items)))]


def _marks(told: Sequence[Sequence[int]], count: int) -> Tensor:
    """(N, count), 1 at the classes of each word."""
    marks = torch.zeros(len(told), count)
    for row, classes in zip(marks, told, strict=True):
        row[list(classes)] = 1
    return marks


def _divergence(scaled: Tensor, shares: Tensor) -> Tensor:
    """Of the classes that texts name from those that they should, (N, K) each."""
    shares = shares / shares.sum(1, keepdim=True)
    return F.kl_div(scaled.log_softmax(1), shares, reduction="batchmean")
