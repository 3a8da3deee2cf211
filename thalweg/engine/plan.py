"""Plans: which tensors a kernel updates, cut into chunks, with a row of hyper-parameters for those that share one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter, is_
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from thalweg.engine import cpu, emit, gpu
from thalweg.engine.memory import is_dense
from thalweg.engine.reading import Reader
from thalweg.engine.saved import Saved
from thalweg.engine.trace import Expression
from thalweg.engine.variant import DTYPES, Member, Variant
from thalweg.rules.rule import State

ITEMSIZE = {name: dtype.itemsize for dtype, name in DTYPES.items()}
_nbytes = attrgetter("nbytes")
Floats = npt.NDArray[np.float64]


class Pass:
    """One kernel over the chunks of a section."""

    def __init__(self, section: Section, expression: Expression, wide: bool = False, norm: bool = False) -> None:
        variant = section.variant
        self.expression, self.made_of = expression, variant.kernel(expression, section.inputs, wide, norm)
        self.kernel = cpu.compiled(self.made_of)
        self.sums = np.zeros((len(section.chunks), max(1, len(expression.sums) + len(expression.shares) + norm)))
        block = max(1, len(section.chunks) // (4 * torch.get_num_threads()))
        arrays = [section.chunks, section.table, section.rows, self.sums, section.seeds]
        chunks, table, rows, sums, seeds = (array.ctypes.data for array in arrays)
        tail = [rows, *section.rows.shape, sums, self.sums.shape[1], seeds, block]
        self.call = np.array([0, chunks, len(section.chunks), table, *section.table.shape, *tail], dtype=np.int64)
        self.address = self.call.ctypes.data

    def source(self) -> str:
        """The text of the kernel's module."""
        return emit.numba(self.made_of)

    def run(self, numbers: int) -> None:
        """Launch the kernel."""
        self.call[0] = 0
        cpu.launch(self.kernel, self.address, numbers)

    def rechunk(self, chunks: npt.NDArray[np.int64]) -> None:
        """Nothing: the kernel reads the section's own list."""

    def total(self, section: Section, column: int) -> Floats:
        """A sum of each tensor, added in the order of the chunks."""
        return np.bincount(section.chunks[:, 0], self.sums[:, column], len(section.table)).astype(np.float64)


class Section:
    """The parameters that one kernel updates in one launch.

    Args:
        variant: what they share.
        members: the parameters with their states.
        options: the options of each group of the optimizer, as numbers.
    """

    def __init__(self, variant: Variant, members: Sequence[Member], options: Sequence[Mapping[str, Any]]) -> None:
        self.variant, self.members = variant, list(members)
        states = [state for state in variant.active if state is not None]
        self._elements = [state for state in states if not state.scalar]
        self._share_scalars([state for state in states if state.scalar])
        names = [*(["step"] if variant.counts else []), *(state.name for state in states)]
        self._held = [(name, [m.saved[name] for m in self.members]) for name in names]
        self._alive = [tensor.detach() for _, tensors in self._held for tensor in tensors]  # also after tensor.data = …
        self._saved = [m.saved for m in self.members]
        self._writes = Saved.writes
        self.positions = [m.position for m in self.members]
        self._originals = [m.p for m in self.members]
        self._params = [p.detach() for p in self._originals]
        self._staged = {
            i: torch.empty(p.shape, dtype=p.dtype, device=p.device)
            for i, p in enumerate(self._params)
            if not is_dense(p)
        }
        self._strides = [self._staged.get(i, p).stride() for i, p in enumerate(self._params)]
        self._layouts = [p.stride() for p in self._params]
        self._plain = all(p.is_contiguous() for p in self._params)
        self.table = np.zeros((len(self.members), 2 + len(self._elements)), dtype=np.int64)
        for column, state in enumerate(self._elements, 2):
            self.table[:, column] = [m.saved[state.name].data_ptr() for m in self.members]
        self._pointers = [p.data_ptr() for p in self._params]
        self.table[:, 0] = [self._staged.get(i, p).data_ptr() for i, p in enumerate(self._params)]
        self._assign_rows()
        sizes = [p.numel() for p in self._params]
        self._sizes = np.array(sizes, dtype=np.float64)
        self._grad_bytes = [n * ITEMSIZE[dict(variant.dtypes)["g"]] for n in sizes]
        self.numbers = sum(sizes)
        step, sweep = (gpu.CHUNK, gpu.Pass) if variant.engine == "triton" else (cpu.chunk(self.numbers), Pass)
        self._pass: Callable[..., Any] = sweep
        cuts = [(k, at, min(step, n - at), self._row_of[k]) for k, n in enumerate(sizes) for at in range(0, n, step)]
        self.chunks = np.array(cuts, dtype=np.int64).reshape(-1, 4)
        self.seeds = np.zeros(len(self.members), dtype=np.int64)
        measured = [(measure, variant.measured(measure)) for measure in variant.program.measures]
        update = variant.expression()
        self.inputs = tuple(dict.fromkeys(name for e in (*(e for _, e in measured), update) for name in e.inputs))
        self._at = {name: column for column, name in enumerate(self.inputs)}
        self.rows = np.zeros((len(self._representatives), max(1, len(self.inputs))))
        self._measures = [(measure, sweep(self, expression)) for measure, expression in measured]
        self._update = sweep(self, update)
        self._fold = cpu.folded(update) if update.scalars else None
        self._norm: Any = None
        self._update_and_norm: Any = None
        self._reader: Reader | None = None
        self._grads: Sequence[Tensor] = ()
        self._scalars: Mapping[str, float] = {}
        self.choose(options)
        self.fill("n", self._sizes[self._representatives])
        self.fill("first", [float(self.members[i].first) for i in self._representatives])
        self.new = any(m.made for m in self.members)

    def source(self) -> str:
        """The text of the update's kernel."""
        text: str = self._update.source()
        return text

    def expressions(self) -> list[Expression]:
        """What the passes of a step do, sums of measures first."""
        return [*(sweep.expression for _, sweep in self._measures), self._update.expression]

    def fill(self, name: str, values: Any) -> None:
        """Set an input of every row, if a kernel takes it."""
        column = self._at.get(name)
        if column is not None:
            self.rows[:, column] = values

    def choose(self, options: Sequence[Mapping[str, Any]]) -> None:
        """Take over the options of the groups."""
        for name, column in self._at.items():
            if name in options[self.groups[0]]:
                self.rows[:, column] = [options[g][name] for g in self.groups]

    def _share_scalars(self, scalars: Sequence[State]) -> None:
        """Lay what is one number a tensor side by side; each parameter's state is a view of its place."""
        self.scalars: dict[str, Floats] = {}
        for state in scalars:
            values = torch.tensor([float(m.saved[state.name]) for m in self.members], dtype=torch.float64)
            self.scalars[state.letter] = values.numpy()
            for m, view in zip(self.members, values.unbind(), strict=True):
                m.saved[state.name] = view
        self.counts = np.zeros(len(self.members), dtype=np.float32)
        if self.variant.counts:
            counts = torch.tensor([float(m.saved["step"]) for m in self.members])
            self.counts = counts.numpy()
            for m, view in zip(self.members, counts.unbind(), strict=True):
                m.saved["step"] = view

    def _assign_rows(self) -> None:
        """A row for the parameters of the same group, step count and scalar states; one for each if sums need it."""
        program, kept = self.variant.program, (s.name == "cautious_kept" for s in self.variant.active if s)
        apart = bool(program.measures) or "n" in program.inputs or any(kept)
        keys: dict[Any, int] = {}
        rows = []
        for i, m in enumerate(self.members):
            own = tuple(values[i] for values in self.scalars.values())
            key = (m.group, float(self.counts[i]), m.first, own, i if apart else 0)
            rows.append(keys.setdefault(key, len(keys)))
        self._row_of = np.array(rows, dtype=np.int64)
        self._representatives = np.array([rows.index(r) for r in range(len(keys))], dtype=np.int64)
        self.groups = np.array([self.members[i].group for i in self._representatives], dtype=np.int64)
        self._marked = self._marks()

    def _marks(self) -> bytes:
        """The counts and scalar states, to notice when somebody else writes them."""
        if not self.scalars:
            return self.counts.tobytes()
        return b"".join([self.counts.tobytes(), *(values.tobytes() for values in self.scalars.values())])

    def fits(self) -> bool:
        """Whether the states are what they were."""
        if self._writes != Saved.writes:
            for name, tensors in self._held:
                if not all(map(is_, [saved.get(name) for saved in self._saved], tensors)):
                    return False
            self._writes = Saved.writes
        return self._marks() == self._marked

    def read(self) -> bool:
        """Take the gradients where they lie now, without looking at each in Python; False if that cannot be done."""
        if self._staged or not self.fits():
            return False
        if self._reader is None:
            if not Reader.possible():
                return False
            dtype = dict(self.variant.dtypes)["g"]
            self._reader = Reader(self._originals, self._params, dtype, self.table[:, 1])
        return self._reader()

    def take(self, grads: Sequence[Any]) -> None:
        """Take the gradients of the parameters for the next sums and the next step."""
        if list(map(Tensor.data_ptr, self._originals)) != self._pointers:
            raise TypeError("a parameter has moved")
        if list(map(_nbytes, grads)) != self._grad_bytes:
            raise TypeError("a gradient has another size or dtype than was planned")
        self._grads = self._laid_out(grads)
        self.table[:, 1] = places = list(map(Tensor.data_ptr, self._grads))
        if not all(place or not size for place, size in zip(places, self._grad_bytes, strict=True)):
            raise TypeError("a gradient has no memory")

    def squares(self) -> Floats:
        """Σg² of each gradient that was taken, in float64."""
        if self._norm is None:
            self._norm = self._pass(self, self.variant.squares(), wide=True)
        self._norm.run(self.numbers)
        found: Floats = self._norm.total(self, 0)
        return found

    def stop(self, which: npt.NDArray[np.bool_]) -> None:
        """Leave some parameters as they are from now on."""
        self.chunks[which[self.chunks[:, 0]], 2] = 0
        for sweep in (self._update, self._update_and_norm, self._norm, *(sweep for _, sweep in self._measures)):
            if sweep is not None:
                sweep.rechunk(self.chunks)

    def step(self, scalars: Mapping[str, float], norm: bool = False) -> Floats | None:
        """One update of every parameter of the section, with the gradients that were taken.

        Args:
            scalars: the numbers of the links.
            norm: whether to sum the squares of each gradient in the same pass; they are what is returned.
        """
        squares = self.squares() if norm and self.variant.engine != "numba" else None
        sweep = self._update
        if norm and squares is None:
            if self._update_and_norm is None:
                self._update_and_norm = self._pass(self, self._update.expression, norm=True)
            sweep = self._update_and_norm
        for i, place in self._staged.items():
            place.copy_(self._params[i])
        if scalars != self._scalars:
            self._scalars = dict(scalars)
            for name, value in scalars.items():
                self.fill(name, math.nan if math.isnan(value) else value)  # of any NaN the one that bfloat16 keeps
        if self.variant.counts:
            self.counts += 1
            self.fill("t", self.counts[self._representatives])
        for letter, values in self.scalars.items():
            self.fill(letter, values[self._representatives])
        if self.variant.stochastic:
            self.seeds[:] = _mixed(_mixed(np.array(self.positions, dtype=np.uint32)) + self.counts.astype(np.uint32))
        for measure, before in self._measures:
            before.run(self.numbers)
            self.fill(measure.name, before.total(self, 0))
        sweep.run(self.numbers)
        if norm and squares is None:
            squares = sweep.total(self, -1)
        self._keep_scalars(sweep)
        for i, place in self._staged.items():
            self._params[i].copy_(place)
        self._marked = self._marks()
        if self.new:
            self.new = False
            self.fill("first", 0.0)
        self._grads = ()
        if self._reader is not None:
            self._reader.release()
        return squares

    def _keep_scalars(self, sweep: Any) -> None:
        """Write the new values of the scalar states into each parameter's own."""
        update = self._update.expression
        if self._fold is not None:
            with np.errstate(all="ignore"):
                new = self._fold(*[self.rows[:, self._at[name]] for name in update.inputs])
            for (letter, _), values in zip(update.scalars, new, strict=True):
                self.scalars[letter][:] = np.broadcast_to(values, len(self._representatives))[self._row_of]
        for column, (letter, _) in enumerate(update.shares):
            self.scalars[letter][:] = sweep.total(self, column) / np.maximum(self._sizes, 1)

    def _laid_out(self, grads: Sequence[Tensor]) -> Sequence[Tensor]:
        """The gradients in the memory layout of their parameters: themselves, or copies."""
        if list(map(Tensor.stride, self._originals)) != self._layouts:
            raise TypeError("a parameter has another layout than was planned")
        if self._plain and all(map(Tensor.is_contiguous, grads)):
            return grads
        return [
            g if g.stride() == s else torch.empty_strided(g.shape, s, dtype=g.dtype, device=g.device).copy_(g)
            for g, s in zip(grads, self._strides, strict=True)
        ]


def _mixed(x: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """A hash of 32-bit integers (the finalizer of MurmurHash3): neighbours get seeds that have nothing in common."""
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return x ^ (x >> np.uint32(16))
