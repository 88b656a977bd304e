"""Make the LMDBs that a Data layer reads, from image folders or lists: the command `make-lmdb`."""

from harness.errors import HarnessError
from harness.exit_codes import Exit


class Stopped(HarnessError):
    """The work cannot continue. What is done is kept, and the message says how to continue."""

    code = Exit.RECORDING_FAILED
