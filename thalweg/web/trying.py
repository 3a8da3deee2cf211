"""``python -m thalweg.web.trying FOLDER K [TASK]``: try the remedy of a study's finding in a process of its own.

It prints what it does, a line each, keeps the outcome in ``findings.json``, and exits with 0; 2 where it cannot be tried.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..errors import BadOption, ThalwegError


def main(words: Sequence[str]) -> int:
    """Try a remedy.

    Args:
        words: folder, number of the finding, and the task, where the folder is not to be asked.

    Returns:
        The exit code.
    """
    try:
        if len(words) not in (2, 3) or not words[1].isdecimal():
            raise BadOption(
                "trying: give a folder and the number of a finding", "python -m thalweg.web.trying FOLDER 0"
            )
        from ..diagnosis.keeping import try_again
        from ..task import Task

        print("Finding it again, then training with and without the remedy over paired seeds.", flush=True)
        tried = try_again(words[0], int(words[1]), Task.load(words[2]) if len(words) == 3 else None)
        print(f"{tried.code}: {tried.outcome}", flush=True)
    except ThalwegError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: cannot write to {words[0]}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
