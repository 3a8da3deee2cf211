"""What `reading` compiles: torch's own C functions asked about many tensors in one call."""

# mypy: disable-error-code="no-untyped-def,call-arg,var-annotated,unreachable"

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import cfunc, types
from numba.extending import intrinsic

from thalweg.engine.primitives import i64

I32, I64 = ir.IntType(32), ir.IntType(64)

# What the integers of a call are: addresses of arrays of int64, what is expected, functions of torch's, the answer.
N, TENSORS, POINTERS, LAYOUTS, GRADS, STRIDE, DTYPE, LAYOUT, SCRATCH, HANDLES = range(10)
GRAD, DROP, HOLD, GET_DTYPE, GET_LAYOUT, GET_DIM, GET_SIZES, GET_STRIDES, GET_DATA_PTR = range(10, 19)
HOLDS, HELD, SAME = range(19, 22)


@intrinsic
def apply(typing: Any, function: Any, tensor: Any) -> Any:
    """What a function of one tensor returns, such as the address of its gradient."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(I64, [I64])
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), [args[1]])

    return types.int64(types.int64, types.int64), code


@intrinsic
def ask(typing: Any, function: Any, tensor: Any, scratch: Any) -> Any:
    """What a function of torch's stable interface answers: it writes it to an address, an error leaves that as it is."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(I32, [I64, I64])
        place = builder.inttoptr(args[2], I64.as_pointer())
        builder.store(ir.Constant(I64, 0), place)
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), [args[1], args[2]])
        return builder.load(place)

    return types.int64(types.int64, types.int64, types.int64), code


@cfunc("void(CPointer(int64))")
def run(call):
    """Write the address of each gradient; SAME is 1 if all tensors and gradients are as was expected.

    Gradients that were held are let go of first; where HOLDS is 1 the new ones are held.
    """
    tensors, pointers, grads = i64(call[TENSORS], 0), i64(call[POINTERS], 0), i64(call[GRADS], 0)
    layouts, scratch, handles, at = i64(call[LAYOUTS], 0), call[SCRATCH], i64(call[HANDLES], 0), 0
    call[SAME] = 0
    while call[HELD] > 0:
        call[HELD] -= 1
        apply(call[DROP], handles[call[HELD]])
    for i in range(call[N]):
        p = call[TENSORS] + 8 * i
        g = apply(call[GRAD], tensors[i])
        if ask(call[GET_DTYPE], g, scratch) != call[DTYPE] or ask(call[GET_LAYOUT], g, scratch) != call[LAYOUT]:
            return
        dim = layouts[at]
        for tensor in (p, g):
            if ask(call[GET_DIM], tensor, scratch) != dim:
                return
            sizes = i64(ask(call[GET_SIZES], tensor, scratch), 0)
            strides = i64(ask(call[GET_STRIDES], tensor, scratch), 0)
            for k in range(dim):
                if sizes[k] != layouts[at + 1 + k] or strides[k] != layouts[at + 1 + dim + k]:
                    return
        if ask(call[GET_DATA_PTR], p, scratch) != pointers[i]:
            return
        where = ask(call[GET_DATA_PTR], g, scratch)
        if where == 0 and pointers[i] != 0:  # a tensor without storage
            return
        if call[HOLDS] != 0:
            handles[i] = ask(call[HOLD], g, scratch)
            if handles[i] == 0:
                return
            call[HELD] += 1
        grads[i * call[STRIDE]] = where
        at += 1 + 2 * dim
    call[SAME] = 1
