"""California house values: a regression on a table with missing cells.

Data (not part of the package): the 1990 US census, R. K. Pace and R. Barry, Sparse Spatial Autoregressions,
1997; public.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from thalweg.readers import Encoder, Table
from thalweg.task import Task
from thalweg.tasks.folder import find

ORIGIN = "California housing with ocean_proximity: https://github.com/ageron/handson-ml2 (datasets/housing/housing.csv)"
TEST_SHARE, VALID_SHARE = 0.1, 0.2


def mlp(width: int) -> nn.Module:
    """``width``-64-64-1 with ReLU."""
    return nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))


def housing() -> Task:
    """20 640 districts; 8 standardized numbers, a mark of missing rooms, 5 proximities; 64-64-1 ReLU, 10 epochs of 64.

    The target is standardized; all statistics are those of the training rows. 10 % are for the test, 20 % to validate.
    """
    table = Table.read(find("california-housing/housing.csv", ORIGIN), "median_house_value")
    rest, test = table.split(round(TEST_SHARE * len(table)), seed=0)
    train, valid = rest.split(round(VALID_SHARE * len(table)), seed=0)
    encoder = Encoder(train, standardize_target=True)
    parts = [encoder.apply(part, what=what) for part, what in ((train, "train"), (valid, "valid"), (test, "test"))]
    return Task(
        model=partial(mlp, len(encoder.names)),
        train=parts[0],
        valid=parts[1],
        test=parts[2],
        metric="mse",
        batch_size=64,
        epochs=10,
        name="housing",
    )
