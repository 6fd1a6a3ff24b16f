"""Looking a name up in a registry of fvcore's, with an error that helps."""

from typing import Any

from stseg.utils.texts import did_you_mean


def registered(registry: Any, name: str, key: str) -> Any:
    """What is registered under a name.

    Args:
        registry: of fvcore.
        name: to look up.
        key: config key that gives it.

    Raises:
        ValueError: if there is nothing of this name; tells the others.
    """
    known = [other for other, _ in registry]
    if name not in known:
        raise ValueError(
            f"{key}: expected one of {', '.join(sorted(known))}, got {name!r}."
            f"{did_you_mean(name, known)}"
        )
    return registry.get(name)
