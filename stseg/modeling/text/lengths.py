"""Names longer than a text tower reads: what it cuts off tells no classes apart."""

import logging
from collections.abc import Callable, Iterable, Sequence

from torch import Tensor

from stseg.utils import name_key, some_of

logger = logging.getLogger(__name__)

_SHORT = 32  # bytes that fit into any tower, in tokens of a byte each
_SHOWN = 60  # letters of a name in messages


def check_lengths(
    asked: Sequence[Sequence[Sequence[str]]],
    tokenizer: Callable[[list[str]], Tensor],
    templates: Sequence[str],
) -> None:
    """Refuse names of two classes that are one text to the tower; warn of those that are cut off.

    Args:
        asked: by class, the names or groups of names that are asked for.
        tokenizer: texts -> (N, context) token ids.
        templates: prompts with one "{}"; the one with most room for a name decides.

    Raises:
        ValueError: names both.
    """
    template = min(templates, key=lambda text: len(text.split("{}")[0]))
    names = {name: i for i, of_class in enumerate(asked) for group in of_class for name in group}
    tokens = tokenizer([template.replace("{}", name) for name in names])
    first: dict[bytes, str] = {}
    for name, row in zip(names, tokens.numpy(), strict=True):
        other = first.setdefault(row.tobytes(), name)
        if names[other] != names[name] and name_key(other) != name_key(name):
            raise ValueError(
                f"Vocabulary, class {names[name] + 1}: expected a name that differs from the "
                f"others in the {len(row)} tokens that the text tower reads, got "
                f"{shortened(name)}, which is the same there as {shortened(other)} of class "
                f"{names[other] + 1}. Shorten them, or put what differs first."
            )
    long = [name for name in names if len(name.encode("utf-8", "replace")) > _SHORT]
    cut = list(cut_names(long, tokenizer, template))
    if cut:
        logger.warning(
            "Vocabulary: the text tower reads %d tokens, and cuts off the end of %s.",
            tokens.shape[1],
            some_of([shortened(name) for name in cut]),
        )


def cut_names(
    names: Iterable[str], tokenizer: Callable[[list[str]], Tensor], template: str
) -> Iterable[str]:
    """Names with no room for another word behind them, whichever it is."""
    for name in names:
        one, other = tokenizer([template.replace("{}", f"{name} {x}") for x in ("cat", "dog")])
        if bool((one == other).all()):
            yield name


def shortened(name: str) -> str:
    """A name in quotes, without its middle where it is long."""
    half = _SHOWN // 2
    return repr(name if len(name) <= _SHOWN else f"{name[:half]} ... {name[-half:]}")
