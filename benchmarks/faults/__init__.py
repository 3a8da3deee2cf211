"""The fault bench: faults injected into tasks that train well, healthy controls, and what is said of both.

``python -m benchmarks.faults`` from the repository's root; ``python -m benchmarks.faults.check`` asks of each fault whether
it hurts and whether its remedy helps.
"""
