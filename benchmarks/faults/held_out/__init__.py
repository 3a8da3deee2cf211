"""The third set of cases: the same kinds of faults in other tasks, networks, optimizers and strengths.

It was written before the probes were changed on the first two, and is to be opened once, with everything frozen:

    python -m benchmarks.faults.check --half held-out --seeds 2 --first 100 --folder FOLDER
    python -m benchmarks.faults --half held-out --seeds 2 --folder FOLDER --misses

The first line only trains, and says which faults hurt; the second one diagnoses, and `opened` keeps count. The images and
the houses are read from ``THALWEG_DATA``.
"""
