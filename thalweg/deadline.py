"""A time that is not to be passed: what takes long asks on its way whether it is over."""

from __future__ import annotations

import time

LATE = "the time was over"


class TimeOver(KeyboardInterrupt):
    """The time that was given is over; as after Ctrl-C, what is done is kept."""


def in_time(deadline: float) -> None:
    """Go on, or not.

    Args:
        deadline: on the clock of `time.monotonic`; `math.inf`: there is none.

    Raises:
        TimeOver: it has passed.

    Example:
        >>> in_time(time.monotonic() + 60)
        >>> try:
        ...     in_time(time.monotonic() - 1)
        ... except TimeOver:
        ...     "over"
        'over'
    """
    if time.monotonic() > deadline:
        raise TimeOver
