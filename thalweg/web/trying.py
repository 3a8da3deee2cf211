"""``python -m thalweg.web.trying FOLDER K``: try the remedy of a study's finding in a process of its own.

It prints what it does, a line each, keeps the outcome in ``findings.json``, and exits with 0; 2 where it cannot be tried.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..errors import BadOption, ThalwegError


def main(words: Sequence[str]) -> int:
    """Try a remedy.

    Args:
        words: folder and number of the finding.

    Returns:
        The exit code.
    """
    try:
        if len(words) != 2 or not words[1].isdigit():
            raise BadOption(
                "trying: give a folder and the number of a finding", "python -m thalweg.web.trying FOLDER 0"
            )
        from ..diagnosis.keeping import try_again

        print("Finding it again, then training with and without the remedy over paired seeds.", flush=True)
        tried = try_again(words[0], int(words[1]))
        print(f"{tried.code}: {tried.outcome}", flush=True)
    except ThalwegError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
