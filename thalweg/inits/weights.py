"""A model's weights by name, to read and to write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from ..wiring import Layer


class Weights:
    """A model's weights by their full names: where one is calculated from parameters, what is calculated."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.named = model, dict(model.named_parameters(remove_duplicate=False))

    def trained(self, name: str) -> bool:
        """Whether it is to be trained, and so may be changed."""
        return self.named[name].requires_grad

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Inside, weights may change; if something fails they are what they were."""
        before = [(p, p.detach().clone()) for p in self.model.parameters()]
        try:
            yield
        except BaseException:
            for p, old in before:
                p.copy_(old)
            raise

    def read(self, name: str) -> Tensor:
        """The weight that acts."""
        owner, calculated, rest = name.partition("parametrizations.")
        if not calculated:
            return self.named[name].detach()
        weight: Tensor = getattr(self.model.get_submodule(owner.rstrip(".")), rest.partition(".")[0])
        return weight.detach().clone()

    @contextmanager
    def writing(self, name: str) -> Iterator[Tensor]:
        """Inside, a weight to write into."""
        weight = self.read(name)
        yield weight
        owner, calculated, rest = name.partition("parametrizations.")
        if calculated:
            setattr(self.model.get_submodule(owner.rstrip(".")), rest.partition(".")[0], weight)

    def unbias(self, layer: Layer) -> None:
        """Set a layer's bias to zero; a recurrent layer has several."""
        own = {layer.bias} | {n for n in self.named if layer.kind == "recurrent" and n.startswith(f"{layer.name}.bias")}
        for name in own - {None}:
            if self.trained(str(name)):
                self.named[str(name)].zero_()

    def scale(self, name: str, factor: float) -> None:
        """Multiply a weight."""
        with self.writing(name) as weight:
            weight.mul_(factor)
