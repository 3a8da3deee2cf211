"""The page and the one-file report: what a study's folder holds, to be looked at."""
