"""What a kernel is made for: the same for every engine that compiles."""

from __future__ import annotations

from dataclasses import dataclass

from thalweg.engine.trace import Expression


@dataclass(frozen=True)
class Kernel:
    """An expression for tensors of some dtypes.

    Args:
        expression: what to do to an element.
        dtypes: the dtype of each column of the table of addresses, in their order: "float32", "float64", "bfloat16",
            "float16"; the last two are calculated in float32.
        inputs: the columns of the table of host scalars, in their order. Their arithmetic is done in float64.
        title: the first line of the module.
        stochastic: round bfloat16 and float16 up or down at random, with the mean right; else to the nearest.
        wide: calculate in float64, as is done for float64 columns.
        norm: also sum the squares of the gradient, in float64; this sum comes last.
    """

    expression: Expression
    dtypes: tuple[tuple[str, str], ...]
    inputs: tuple[str, ...]
    title: str
    stochastic: bool = False
    wide: bool = False
    norm: bool = False

    @property
    def kinds(self) -> dict[str, str]:
        """The dtype of each column that the expression uses."""
        kinds = dict(self.dtypes)
        return {column: kinds[column] for column in self.expression.columns}

    @property
    def real(self) -> str:
        """The dtype that it calculates in."""
        return "float64" if self.wide or "float64" in self.kinds.values() else "float32"

    def place(self, column: str) -> int:
        """The column's place in the table of addresses."""
        return [name for name, _ in self.dtypes].index(column)
