"""The faults of the third set that lie outside of the network: data, loop, rate, precision, size."""

from __future__ import annotations

from ..injections.data import blank, scaled_rows, sorted_
from ..injections.loop import back, body_back, freeze, head, loop, loss, lower, new_head, own, summed
from ..injections.precision import by_hand, halved, root, small
from ..injections.rate import descent, heavy_ball, recipe
from ..injections.rate import times as rate_times
from ..setting import Fault, both, codes
from .making import apart, leaked, memorizing, of_inputs, perceptron, permuted, rolled, times

HIGH, LOW = codes("lr-too-high", "lr-unstable"), codes("lr-too-low")
SCALE, LABELS = codes("input-scale", "ill-conditioned"), codes("labels-shuffled")
ACCUMULATE, CLEARED = codes("gradients-accumulate"), codes("gradients-cleared")
OUTSIDE, COLLAPSED = codes("parameters-not-in-optimizer"), codes("schedule-collapsed")
ASCENDS, CLIPPED = codes("loss-ascends"), codes("clipped-always")
UNDONE, NON_FINITE = codes("update-undone"), codes("non-finite")
DECAY = codes("weight-decay-dominates")
RATE = "learning rate"
SUM = loss(summed)
ROOTS = perceptron(48, 48, lr=3e-3)

FAULTS = [
    Fault("lr × 300", RATE, HIGH, ("spirals", "housing", "memory"), rate_times(300)),
    Fault("lr × 60", RATE, HIGH, ("chains", "waves", "fashion"), rate_times(60)),
    Fault("lr × 3e-4", RATE, LOW, ("spirals", "fashion", "chains", "plane"), rate_times(3e-4)),
    Fault("lr × 1e-3", RATE, LOW, ("housing", "twins", "memory"), rate_times(1e-3)),
    Fault("lr 2.1/λmax", RATE, HIGH, ("plane",), descent(2.1), descent(1.0)),
    Fault("heavy ball 4.0/λmax", RATE, HIGH, ("plane",), heavy_ball(4.0), heavy_ball(1.0)),
    Fault("Adam at .2", RATE, HIGH, ("chains",), recipe(lr=0.2)),
    Fault("Adam eps .5", RATE, codes("adam-epsilon"), ("chains", "housing", "memory"), recipe(eps=0.5)),
    Fault("Adam β .9995, .95", RATE, codes("adam-betas"), ("housing", "spirals"), recipe(betas=(0.9995, 0.95))),
    Fault("momentum .9995", RATE, codes("momentum-too-high"), ("fashion", "twins"), recipe(momentum=0.9995)),
    Fault("rate falls as 1/t", RATE, COLLAPSED, ("fashion", "twins", "housing"), recipe(schedule="1/t", warmup=0)),
    Fault("warm-up longer than the run", RATE, COLLAPSED | LOW, ("spirals", "waves"), recipe(warmup=50_000)),
    Fault(
        "scheduler stepped per batch",
        RATE,
        COLLAPSED,
        ("twins", "fashion"),
        loop(rate=lambda step, epoch: 0.8**step),
        loop(rate=lambda step, epoch: 0.8 ** (step // epoch)),
    ),
    Fault("no zero_grad", "loop", ACCUMULATE, ("spirals", "waves", "chains"), loop(zero="never"), own),
    Fault(
        "zero_grad after backward", "loop", CLEARED, ("housing", "twins", "memory"), loop(zero="after backward"), own
    ),
    Fault(
        "head replaced after the optimizer",
        "loop",
        OUTSIDE,
        ("waves", "spirals"),
        loop(before=freeze, then=new_head),
        loop(before=freeze),
    ),
    Fault(
        "only the head in the optimizer",
        "loop",
        OUTSIDE,
        ("chains", "housing", "memory"),
        loop(parameters=lambda m: list(head(m).parameters())),
        own,
    ),
    Fault("weights loaded after each step", "loop", UNDONE, ("twins", "chains"), loop(after=back), own),
    Fault("all but the head put back", "loop", UNDONE, ("spirals",), loop(after=body_back), own),
    Fault("eval() left on", "loop", codes("training-in-eval-mode"), ("fashion",), loop(mode="eval"), own),
    Fault("clip at 1e-5 in the loop", "loop", CLIPPED, ("twins", "fashion"), loop(clip=1e-5), own),
    Fault("clip at 1e-5", "loop", CLIPPED, ("twins", "fashion"), recipe(clip_norm=1e-5)),
    Fault(
        "loss negated in the loop",
        "loop",
        ASCENDS,
        ("waves", "memory"),
        loop(loss=lambda loss, output, target: -loss(output, target)),
        own,
    ),
    Fault("loss negated", "loop", ASCENDS, ("spirals", "housing", "twins"), loss(lambda value, output: -value)),
    Fault(
        "sum instead of mean",
        "loop",
        codes("loss-is-summed") | HIGH,
        ("plane", "fashion"),
        SUM,
        remedy=both(SUM, lower),
    ),
    Fault("decay dominates", "loop", DECAY, ("twins", "fashion"), recipe(weight_decay=0.7)),
    Fault("decoupled decay dominates", "loop", DECAY, ("spirals",), recipe(weight_decay=40.0)),
    Fault("inputs × 400", "data", SCALE, ("spirals", "memory"), of_inputs(times(400))),
    Fault("one input × 3000", "data", SCALE, ("twins", "housing"), of_inputs(times(3000, 2))),
    Fault("inputs + 500", "data", SCALE, ("spirals", "twins"), of_inputs(lambda x: x + 500)),
    Fault("NaN in one row", "data", codes("input-non-finite"), ("fashion", "waves", "memory"), blank, scaled_rows),
    Fault("labels shifted by three rows", "data", LABELS, ("spirals", "waves", "housing"), rolled(3)),
    Fault("labels shuffled", "data", LABELS, ("fashion", "twins", "chains", "memory"), permuted(1.0)),
    Fault("most labels shuffled", "data", LABELS, ("housing", "spirals"), permuted(0.92)),
    Fault("sorted, not shuffled", "data", codes("not-shuffled"), ("waves", "spirals", "housing"), sorted_),
    Fault(
        "train rows in validation", "data", codes("leakage"), ("spirals", "twins"), leaked, apart, measure="flattery"
    ),
    Fault("bfloat16 weights", "precision", codes("update-lost-in-rounding"), ("twins", "spirals"), halved, small),
    Fault(
        "root of what is negative",
        "precision",
        NON_FINITE,
        ("housing", "twins"),
        both(ROOTS, root(None)),
        both(ROOTS, root(1e-3)),
    ),
    Fault("softmax by hand", "precision", NON_FINITE, ("spirals", "fashion"), by_hand),
    Fault(
        "a bottleneck of one unit",
        "fit",
        codes("underfitting"),
        ("spirals", "housing"),
        perceptron(24, 1, lr=1e-2),
        perceptron(24, 24, lr=1e-2),
    ),
    Fault(
        "few noisy rows by heart", "fit", codes("overfitting"), ("housing", "twins"), memorizing(220), memorizing(1800)
    ),
]
