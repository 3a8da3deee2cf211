"""The recipe: what is chosen for a training run, as frozen data."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import hashlib
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import errors, groups, rules, schedules, toml
from .errors import NOT_NEGATIVE, POSITIVE, BadOption, check
from .fields import FIELDS, FLOATS

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LambdaLR

_horizon: contextvars.ContextVar[tuple[int | None, list[Any] | None]] = contextvars.ContextVar(
    "horizon", default=(None, None)
)


class Recipe:
    """What is chosen for a run: optimizer, rate, options, schedule, clipping, batch size, groups; frozen and hashable.

    Args:
        optimizer: a name of the rules' table: ``sgd, momentum, adam, adamw, lion, ...`` (`thalweg explain`).
        lr: the learning rate at the schedule's top; None: to be found.
        schedule: the rate's course over the run: ``linear`` (to zero), ``cosine``, ``constant``, ``1/t``, ``1/sqrt(t)``,
            ``step``, ``exponential``, ``restarts``, ``1cycle``, ``wsd``; `thalweg.schedules.make` says what each is.
        warmup: steps (int), share of the steps (float < 1), or None: min(10 % of the steps, 2/(1 − β2)), and none for
            ``constant`` and ``1cycle``, which rises by itself.
        clip_norm: largest global gradient norm; longer gradients are scaled down to it, direction kept.
        weight_decay: λ; coupled or decoupled as the optimizer has it.
        batch_size: rows a step; ``"full"``: the whole training set; None: the task's.
        init: initialization, by the names of `thalweg.inits`: ``he_normal``, ``orthogonal``, ``lsuv``, joined by ``+``
            (``"he_normal+zero_residual"``); ``torch`` leaves the weights as the model's constructor drew them.
        norm: normalization: ``none``, ``batch``, ``layer``, ``group(n)``, ``instance``, ``rms``, ``weight``; ``keep`` leaves
            the model's layers as they are.
        groups: options by parameter-name pattern: ``{"head.*": {"lr_scale": 10, "weight_decay": 0}}``; the first match wins.
        freeze: name patterns of parameters that are not trained.
        layer_decay: the rate's factor per layer going from the output back to the input.
        average: evaluate with an average of the weights, a ← average·a + (1 − average)·p after each update; None: as they are.
        **options: the optimizer's own (``momentum``, ``betas``, ``eps``, ...).

    Raises:
        BadOption: a value outside what is allowed, or an unknown name.

    Example:
        >>> a = Recipe("adamw", lr=1e-3)
        >>> a.diff(Recipe("adamw", lr=1e-2, betas=(0.9, 0.95)))
        {'lr': (0.001, 0.01), 'betas': (None, (0.9, 0.95))}
        >>> Recipe.from_toml(a.to_toml()) == a
        True
    """

    optimizer: str
    lr: float | None
    schedule: str
    warmup: int | float | None
    clip_norm: float | None
    weight_decay: float
    batch_size: int | str | None
    init: str
    norm: str
    layer_decay: float | None
    average: float | None

    def __init__(self, optimizer: str = "adamw", **chosen: Any) -> None:
        rule = rules.get(optimizer)
        own = {option.name: option.allowed for option in rule.options if option.name not in FIELDS}
        values: dict[str, Any] = {name: default for name, (default, _) in FIELDS.items()} | {"optimizer": optimizer}
        options: dict[str, Any] = {}
        for name, value in chosen.items():
            if name == "schedule" and isinstance(value, str):
                schedules.named(value, "Recipe")
            if name in FIELDS:
                check("Recipe", name, value, FIELDS[name][1])
                values[name] = float(value) if name in FLOATS and value is not None else value
            elif name in own:
                check(f"Recipe({optimizer!r})", name, value, own[name])
                options[name] = value
            else:
                raise errors.unknown(f"Recipe({optimizer!r})", "option", name, [*FIELDS, *own])
        if values["weight_decay"] and "weight_decay" not in rule.defaults:
            raise BadOption(f"Recipe({optimizer!r}): it has no weight_decay", "leave weight_decay out")
        for pattern, group in (values["groups"] or {}).items():
            for name, value in group.items():
                allowed = (
                    POSITIVE
                    if name in ("lr_scale", "lr")
                    else NOT_NEGATIVE
                    if name == "weight_decay"
                    else own.get(name)
                )
                if allowed is None:
                    raise errors.unknown(
                        f"Recipe: group {pattern!r}", "option", name, ["lr", "lr_scale", "weight_decay", *own]
                    )
                check(f"Recipe: group {pattern!r}", name, value, allowed)
        values["freeze"] = tuple(values["freeze"] or ()) or None
        values["groups"] = {k: toml.plain(dict(v)) for k, v in (values["groups"] or {}).items()} or None
        values["options"] = {name: tuple(v) if isinstance(v, list) else v for name, v in sorted(options.items())}
        self.__dict__.update(values)
        rule.check(values["options"])

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a Recipe is frozen; use recipe.but({name}={value!r})")

    __delattr__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(Recipe, **self.as_dict()), ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        given = {k: v for k, v in self.as_dict().items() if k != "optimizer"}
        return f"Recipe({self.optimizer!r}{''.join(f', {k}={v!r}' for k, v in given.items())})"

    def __str__(self) -> str:
        given = {k: v for k, v in self.as_dict().items() if k not in ("optimizer", "lr", "schedule")}
        rate = "lr to be found" if self.lr is None else f"lr {self.lr:.3g}"
        return ", ".join([self.optimizer, rate, *(f"{k} {_words(v)}" for k, v in given.items()), self.schedule])

    @property
    def groups(self) -> dict[str, dict[str, Any]]:
        """Options by name pattern (a copy)."""
        return {k: dict(v) for k, v in (self.__dict__["groups"] or {}).items()}

    @property
    def freeze(self) -> tuple[str, ...]:
        """Name patterns of the parameters that are not trained."""
        return self.__dict__["freeze"] or ()

    @property
    def options(self) -> dict[str, Any]:
        """The optimizer's own options that were given (a copy)."""
        return dict(self.__dict__["options"])

    @property
    def id(self) -> str:
        """Ten hexadecimal digits of SHA-256 over the TOML text: equal recipes have equal ids, anywhere."""
        return hashlib.sha256(self._text.encode()).hexdigest()[:10]

    def as_dict(self) -> dict[str, Any]:
        """What differs from the defaults (and the optimizer), as plain data."""
        given = {
            n: self.__dict__[n] for n, (default, _) in FIELDS.items() if n == "optimizer" or self.__dict__[n] != default
        }
        return given | self.options

    def but(self, **changes: Any) -> Recipe:
        """This recipe with some fields changed (``but(lr=1e-2)``)."""
        return Recipe(**(self.as_dict() | changes))

    def diff(self, other: Recipe) -> dict[str, tuple[Any, Any]]:
        """``{field: (mine, other's)}`` for every field that differs; None stands for "not given"."""
        mine, theirs = ({n: d for n, (d, _) in FIELDS.items()} | r.as_dict() for r in (self, other))
        return {
            n: (mine.get(n), theirs.get(n)) for n in [*mine, *(set(theirs) - set(mine))] if mine.get(n) != theirs.get(n)
        }

    def to_toml(self) -> str:
        """The recipe as TOML text; fields at their default are left out."""
        return self._text

    @functools.cached_property
    def _text(self) -> str:
        data = {k: toml.plain(v) for k, v in self.as_dict().items()}
        groups = data.pop("groups", {})
        lines = [f"{name} = {toml.text(value)}" for name, value in data.items()]
        for pattern, options in groups.items():
            lines += ["", f"[groups.{toml.text(pattern)}]", *(f"{k} = {toml.text(v)}" for k, v in options.items())]
        return "\n".join(lines) + "\n"

    @classmethod
    def from_toml(cls, text: str) -> Recipe:
        """The recipe that a TOML text describes.

        Raises:
            BadOption: not TOML, or a field that a recipe does not have.
        """
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise BadOption(f"Recipe: not TOML: {error}", 'write lines like: optimizer = "adamw"') from None
        return cls(**data)

    def save(self, path: str | Path) -> Path:
        """Write the TOML text to ``path``."""
        path = Path(path)
        path.write_text(self.to_toml(), encoding="utf-8")
        return path

    @classmethod
    def load(cls, path: str | Path) -> Recipe:
        """Read a recipe from a TOML file."""
        try:
            return cls.from_toml(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise BadOption(f"Recipe: cannot read {path}: {error.strerror}", "give the path of a recipe.toml") from None

    def warmup_steps(self, steps: int | None) -> int:
        """The length of the warm-up in steps, for a run of ``steps``."""
        if isinstance(self.warmup, int):
            return self.warmup
        if steps is None or (self.schedule in ("constant", "1cycle") and self.warmup is None):
            return 0
        if self.warmup is not None:
            return round(self.warmup * steps)
        betas = {o.name: o.default for o in rules.get(self.optimizer).options} | self.options
        return schedules.default_warmup(steps, betas["betas"][1] if "betas" in betas else None)

    def multiplier(self, steps: int | None) -> Callable[[int], float]:
        """The schedule: update number k = 0, 1, ... → the factor of the rate."""
        return schedules.make(self.schedule, steps, self.warmup_steps(steps))

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """The model's trained parameters as ``torch.optim`` groups, each with its own rate and options.

        Raises:
            BadOption: a pattern that matches no parameter, or nothing left to train.
        """
        from . import building

        assert self.lr is not None
        return groups.make(
            model,
            lr=self.lr,
            layer_decay=self.layer_decay,
            patterns=building.rates(model, self) | self.groups,
            freeze=self.freeze,
            owner="Recipe",
        )

    def initialize(
        self, model: nn.Module, inputs: Any, targets: Tensor | None = None, *, seed: int | None = None
    ) -> list[Any]:
        """Carry out ``norm`` and ``init`` on a model, in place, before `build`; `thalweg.compare` does it by itself.

        Args:
            model: any module.
            inputs: a batch: a tensor, a tuple of what the model takes, or a dict.
            targets: of the batch, for ``output_bias``.
            seed: of the draws; None: from the global generator, as torch's own.

        Returns:
            What was done: a `thalweg.norms.Swap` and a `thalweg.inits.Initialization`; print them.

        Raises:
            BadOption, BadTask: norm or init do not fit the model.

        Example:
            >>> import torch
            >>> net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
            >>> swap, init = Recipe("sgd", lr=0.1, norm="layer", init="he_normal").initialize(net, torch.randn(5, 2))
            >>> print(swap)
            0.norm: LayerNorm(8)
        """
        from . import building

        return building.apply_to_inputs(model, self, inputs, targets, seed)

    def build(self, model: nn.Module, steps: int | None = None) -> tuple[Optimizer, LambdaLR]:
        """The optimizer and the schedule for a model: ``optimizer.step(); schedule.step()`` after each batch.

        Args:
            model: its parameters are grouped, and frozen where the recipe says so.
            steps: the run's length in updates, which every schedule but ``constant``, ``1/t`` and ``1/sqrt(t)`` needs; in
                `thalweg.compare` it is known. Without it the rate stays constant after the warm-up.

        Returns:
            A `torch.optim.Optimizer` and a `torch.optim.lr_scheduler.LambdaLR`.

        Raises:
            BadOption: ``lr`` is None, a pattern matches nothing, or ``norm`` and ``init`` were not carried out on the model.

        Example:
            >>> import torch
            >>> optimizer, schedule = Recipe("sgd", lr=0.1).build(torch.nn.Linear(2, 1), steps=100)
            >>> round(optimizer.param_groups[0]["lr"], 6)  # the first of ten warm-up steps
            0.01
        """
        from torch.optim.lr_scheduler import LambdaLR

        from . import building, optim

        if self.lr is None:
            raise BadOption(
                "Recipe: lr is None, that is, still to be found", "give lr=, or let thalweg.compare find it"
            )
        if building.changes(self):
            building.check(model, self)
        ambient, built = _horizon.get()
        steps = steps if steps is not None else ambient
        make = optim.optimizer_class(self.optimizer)
        decay: dict[str, Any] = {"weight_decay": self.weight_decay} if "weight_decay" in make.rule.defaults else {}
        optimizer = make(
            self.parameter_groups(model),
            lr=self.lr,
            clip_norm=self.clip_norm,
            ema=self.average,
            **decay,
            **self.options,
        )
        schedule = LambdaLR(optimizer, self.multiplier(steps))
        if built is not None:
            built.append(schedule)
        return optimizer, schedule


@contextlib.contextmanager
def horizon(steps: int | None) -> Iterator[list[LambdaLR]]:
    """Inside, `Recipe.build` takes ``steps`` as the run's length when it is given none; yields the schedules built."""
    built: list[LambdaLR] = []
    token = _horizon.set((steps, built))
    try:
        yield built
    finally:
        _horizon.reset(token)


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.3g}" if isinstance(value, float) else str(toml.plain(value))
