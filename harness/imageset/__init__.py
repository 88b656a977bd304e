"""Make the LMDBs that a Data layer reads, from image folders or lists: the command `make-lmdb`."""


class Stopped(Exception):
    """The work cannot continue. What is done is kept, and the message says how to continue (exit code 1)."""
