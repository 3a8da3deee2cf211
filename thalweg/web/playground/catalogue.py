"""What the playground offers: surfaces, rules with their sliders, and presets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from thalweg import errors, rules
from thalweg.rules import Rule

from . import racing
from .measured import plane
from .presets import PRESETS, Preset
from .surfaces import SURFACES, Surface

Folders = Mapping[str, Path] | Sequence[Path]
SMALL = 81, 61
KEPT = 500  # about as many points of a path inside a report
LABELS = {
    "lr": "rate lr",
    "momentum": "momentum ρ",
    "beta1": "β1",
    "beta2": "β2",
    "beta3": "β3",
    "alpha": "α",
    "rho": "ρ",
    "weight_decay": "weight decay λ",
    "fall": "rate falls as t^−k, k",
}
KEEPS = ("momentum", "beta1", "beta2", "beta3", "alpha", "rho")  # how much is kept of what was: 1 − it is what matters
PLAIN_RATES = {"sgd": 0.01, "momentum": 0.01, "nesterov": 0.01, "asgd": 0.01, "schedulefreesgd": 0.01, "rmsprop": 0.01}
RATES = PLAIN_RATES | {"adagrad": 0.5, "adadelta": 10.0, "lion": 0.02, "signum": 0.02}
EIGHT = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "nadam")
LABEL = {"sgd": "Gradient descent", "rmsprop": "RMSProp", "adagrad": "AdaGrad"}


def playground(folders: Folders = (), live: bool = True) -> dict[str, Any]:
    """The playground's document.

    Args:
        folders: of studies whose measured planes can be raced on, by the studies' ids; of a sequence the folders'
            names are the ids. What cannot be read is left out.
        live: whether a server will race; else the presets come with their results, each plane with a preset of its
            own, and surfaces that none of them needs are left out.

    Example:
        >>> found = playground()
        >>> len(found["surfaces"]) >= 9, len(found["rules"]) >= 8, found["presets"][0]["title"]
        (True, True, 'Leaving a saddle')
    """
    planes = []
    for study, folder in _named(folders).items():
        try:
            planes.append(plane(study, folder))
        except errors.BadStudy:
            continue
    shown = [one for one in planes if one is not None]
    if live:
        surfaces = [surface.view() for surface in (*SURFACES.values(), *shown)]
        presets = [preset.view() for preset in PRESETS]
    else:
        used = dict.fromkeys(preset.surface for preset in PRESETS)
        surfaces = [surface.view(SMALL) for surface in (*(SURFACES[name] for name in used), *shown)]
        presets = [_raced(_card(one), one) for one in shown]
        presets += [preset.view(result) for preset, result in zip(PRESETS, _results(), strict=True)]
    return {
        "surfaces": surfaces,
        "rules": [_view(rule) for rule in rules.TABLE.values()],
        "presets": presets,
        "live": live,
    }


def race(request: Any, folders: Folders = ()) -> dict[str, Any]:
    """Race the rules of a request side by side.

    Args:
        request: a RaceRequest: ``surface``, ``start``, ``steps``, ``noise``, ``clip``, ``seed``, ``goal`` and
            ``racers``, a list of ``{"rule": ..., "options": {...}}``; all but the surface and the racers may be left
            out. See `racing.Request`.
        folders: as for `playground`.

    Returns:
        A RaceResult: of each racer its path, the loss along it, and how it ended. Divergence is a result.

    Raises:
        BadOption: an unknown surface, rule or option, or a value outside what is allowed.
        BadStudy: a measured plane that cannot be read.

    Example:
        >>> found = race({"surface": "beale", "racers": [{"rule": "adam", "options": {"lr": 0.1}}]})
        >>> found["racers"][0]["message"]
        'within 0.01 of the lowest minimum, after 167 updates'
    """
    named = _named(folders)

    def surface_of(name: str) -> Surface:
        study, _, kind = name.rpartition(":")
        found = SURFACES.get(name) or (plane(study, named[study], kind) if study in named else None)
        if found is None:
            raise errors.unknown("race", "surface", name, [*SURFACES, *(f"{study}:pca" for study in named)])
        return found

    return racing.raced(request, surface_of)


def _card(surface: Surface) -> Preset:
    """A race on a measured plane, for where the reader cannot start one."""
    return Preset(
        id=surface.id.replace(":", "-"),
        title=surface.name,
        see="Eight rules on the plane through this model's weights, each at a usual rate, from where a run began.",
        not_="The plane is interpolated between measured points: what happens on it does not happen in all dimensions.",
        surface=surface.id,
        start=surface.start,
        racers=tuple((name, {"lr": RATES.get(name, rules.get(name).rates[1])}) for name in EIGHT),
        steps=300,
    )


def _raced(preset: Preset, surface: Surface) -> dict[str, Any]:
    return preset.view(racing.raced(preset.request, lambda _: surface, KEPT))


@cache
def _results() -> list[dict[str, Any]]:
    """The presets' races, which are the same every time."""
    return [racing.raced(preset.request, SURFACES.__getitem__, KEPT) for preset in PRESETS]


def _named(folders: Folders) -> dict[str, Path]:
    if isinstance(folders, Mapping):
        return {name: Path(folder) for name, folder in folders.items()}
    return {Path(folder).name: Path(folder) for folder in folders}


def _view(rule: Rule) -> dict[str, Any]:
    """A rule with the options that have a slider."""
    places = racing.parts(rule)
    values = {name: rule.defaults[option][i] for name, (option, i) in places.items()} | dict(rule.defaults)
    values["lr"] = RATES.get(rule.name, rule.rates[1])
    shares = {option.name for option in rule.options if option.allowed is not errors.NOT_NEGATIVE}  # no share: ASGD's α
    named = [name for name in LABELS if name in values and (name in shares or name in places or name not in KEEPS)]
    sliders = [_slider(name, float(values[name])) for name in named]
    return {
        "name": rule.name,
        "label": LABEL.get(rule.name, rule.title),
        "equation": rule.equation,
        "options": [*sliders, _slider("fall", 0.0)],
    }


def _slider(name: str, value: float) -> dict[str, Any]:
    low, high, scale = (0.0, 1.0, "linear")
    if name == "lr":
        low, high, scale = 1e-4, 20.0, "log"
    elif name in KEEPS:
        low, high, scale = 0.0, 0.9999, "one-minus-log"
    elif name == "weight_decay":
        high = 0.5
    return {"name": name, "label": LABELS[name], "value": value, "low": low, "high": high, "scale": scale}
