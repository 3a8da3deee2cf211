"""The third set of cases: the same kinds of faults in other tasks, networks, optimizers and strengths.

It was written before the probes were changed on the first two, and is to be opened once, with everything frozen:
``python -m benchmarks.faults --half held-out --seeds 2``; `opened` keeps count. Its images and houses are read from
``THALWEG_DATA``.
"""
