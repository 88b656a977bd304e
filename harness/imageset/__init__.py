"""Make LMDBs that a Data layer reads, from image folders or lists."""


class Stopped(Exception):
    """The work cannot go on; what is done is kept, and the message says how to go on from there (exit code 1)."""
