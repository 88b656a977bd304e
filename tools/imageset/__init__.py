"""From images to the LMDBs that a Data layer reads: what tools/make_lmdb consists of."""


class Stopped(Exception):
    """The work cannot go on; what is done is kept, and the message says how to go on from there (exit code 1)."""
