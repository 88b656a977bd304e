"""What tools/make_lmdb starts: arguments in, exit code out."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    # here, because the process that reads the LMDBs back imports this module, and needs none of them
    from imageset import Stopped
    from imageset.making import make
    from imageset.options import parse
    from rich.console import Console
    from rich.text import Text

    from harness.recording.errors import BadInput
    from harness.recording.outcome import Exit

    console = Console(stderr=True)
    try:
        options = parse(sys.argv[1:] if arguments is None else arguments)
        print(make(options, console))
    except (BadInput, Stopped) as error:
        console.print(Text(f"error: {error}", style="bold red"), soft_wrap=True)
        return Exit.BAD_INPUT if isinstance(error, BadInput) else 1
    except KeyboardInterrupt:
        console.print("interrupted: the same command goes on from here", style="bold yellow")
        return Exit.INTERRUPTED
    return Exit.DONE


if __name__ == "__main__":
    sys.exit(main())
