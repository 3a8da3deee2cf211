"""Axes as products of atoms, the outermost first: that of a flattened image is channels × height × width.

What is found out of two axes, that they have the same places or that their places are told apart, holds for all that share
their atoms.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(eq=False)
class Atom:
    """Places that belong together; ``same``: the atom it was found to be; ``parts``: what it was split into."""

    size: int
    fixed: bool = False
    same: Atom | None = None
    parts: tuple[Atom, ...] = ()


Axis = tuple[Atom, ...]
Axes = list[Axis]


def new(sizes: Iterable[int], fixed: bool = False) -> Axes:
    """Axes that nothing is known of yet; one with a single place has no atoms."""
    return [() if size == 1 else (Atom(size, fixed),) for size in sizes]


def resolved(axis: Iterable[Atom]) -> list[Atom]:
    """The atoms that an axis consists of by now."""
    found = list[Atom]()
    for atom in axis:
        while atom.same is not None:
            atom = atom.same
        found += resolved(atom.parts) if atom.parts else [atom]
    return found


def fix(*axes: Iterable[Atom]) -> None:
    """Their places are told apart."""
    for axis in axes:
        for atom in resolved(axis):
            atom.fixed = True


def split(atom: Atom, outer: int) -> None:
    """An atom is a product of two, the outer one first."""
    atom.parts = Atom(outer, atom.fixed), Atom(atom.size // outer, atom.fixed)


def identify(one: Iterable[Atom], other: Iterable[Atom]) -> None:
    """Two axes have the same places; what does not divide is fixed."""
    a, b = resolved(one), resolved(other)
    while a and b:
        x, y = (a[0], b[0]) if a[0].size <= b[0].size else (b[0], a[0])
        if not x.size or y.size % x.size:
            break
        if y.size > x.size:
            split(y, x.size)
        else:
            if x is not y:
                x.same, y.fixed = y, x.fixed or y.fixed
            a, b = a[1:], b[1:]
        a, b = resolved(a), resolved(b)
    fix(a, b)


def regrouped(axes: Axes, shape: Sequence[int]) -> Axes:
    """The axes of the same numbers in another shape."""
    left, result = resolved(atom for axis in axes for atom in axis), Axes()
    for size in shape:
        axis, have = list[Atom](), 1
        while have < size and left:
            need = size // have
            if left[0].size <= need:
                axis.append(left[0])
                have *= left[0].size
                left = left[1:]
            elif left[0].size % need == 0:
                split(left[0], need)
            else:
                break
            left = resolved(left)
        if have != size:
            fix(*axes)
            return new(shape, fixed=True)
        result.append(tuple(axis))
    return result
