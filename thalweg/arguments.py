"""What is written on the command line, read: recipes, axes, shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .errors import BadOption

if TYPE_CHECKING:
    from .recipe import Recipe

WORDS = ("init", "norm", "schedule")  # fields of a recipe that are texts


def recipe_of(text: str | None) -> Recipe | None:
    """A recipe from the command line: a TOML file, or ``adamw``, or ``adamw,lr=1e-3,betas=0.9:0.95``.

    Raises:
        BadOption: not a recipe.

    Example:
        >>> recipe_of("sgd,lr=0.1,momentum=0.9")
        Recipe('sgd', lr=0.1, momentum=0.9)
    """
    if text is None:
        return None
    from .recipe import Recipe

    if text.endswith(".toml"):
        return Recipe.load(text)
    name, *pairs = text.split(",")
    chosen: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise BadOption(f"recipe: cannot read {pair!r}", "write NAME,key=value,... or the path of a recipe.toml")
        chosen[key.strip()] = _value(value.strip())
    return Recipe(name.strip(), **chosen)


def _value(text: str) -> Any:
    if ":" in text:
        return tuple(map(_value, text.split(":")))
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


def axes_of(texts: Sequence[str] | None) -> dict[str, Any] | None:
    """Axes from the command line: ``name=value,value`` or, for a range, ``name=low..high``.

    Raises:
        BadOption: not an axis, or one named twice.

    Example:
        >>> axes_of(["schedule=linear,cosine", "weight_decay=1e-5..1e-1", "betas=0.9:0.95,0.9:0.999"])
        {'schedule': ['linear', 'cosine'], 'weight_decay': (1e-05, 0.1), 'betas': [(0.9, 0.95), (0.9, 0.999)]}
    """
    found: dict[str, Any] = {}
    for text in texts or ():
        name, equals, values = text.partition("=")
        if not equals or not name.strip():
            raise BadOption(f"axis: cannot read {text!r}", "write --axis NAME=value,value or --axis NAME=low..high")
        if name.strip() in found:
            raise BadOption(f"axis: {name.strip()} is given twice", "write all its values in one --axis")
        low, dots, high = values.partition("..")
        parts = [low, high] if dots else values.split(",")
        word = name.strip() in WORDS or name.strip().startswith("model.")  # there "none" is a value like others
        read = [None if part.strip().lower() == "none" and not word else _value(part.strip()) for part in parts]
        found[name.strip()] = tuple(read) if dots else read
    return found or None


def share_of(text: str) -> tuple[str, Any]:
    """A share of a proxy: ``steps=.1``.

    Raises:
        BadOption: not a name and a number.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise BadOption(f"proxy: cannot read {text!r}", "write --proxy steps=.1,data=.2")
    return name.strip(), _value(value.strip())


def numbers_of(text: str | None) -> list[float]:
    """Numbers separated by commas.

    Raises:
        BadOption: something else.

    Example:
        >>> numbers_of("1e-3,0.1"), numbers_of(None)
        ([0.001, 0.1], [])
    """
    try:
        return [float(word) for word in text.split(",")] if text else []
    except ValueError:
        raise BadOption(f"values: cannot read {text!r}", "write numbers separated by commas: 1e-3,1e-2") from None
