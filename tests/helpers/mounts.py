"""Shell scripts that may mount file systems, which only they see and which end with them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from tests.helpers.processes import Finished, command


def run_with_mounts(script: str, *arguments: object, env: Mapping[str, str] | None = None) -> Finished:
    """Run a shell script in a mount namespace of its own; `arguments` are its $0, $1 and so on."""
    rootless = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return command("unshare", *rootless, "--mount", "sh", "-c", script, *arguments, env=env)


def run_on_disk(size: str, disk: Path, script: str, env: Mapping[str, str] | None = None) -> Finished:
    """Run a shell script where $DISK, the new directory `disk`, is a disk of `size`, such as `64k` or `12m`."""
    disk.mkdir()
    mount = f'mount -t tmpfs -o size={size} none "$DISK" || exit 99'
    return run_with_mounts(f"{mount}\n{script}", env={"DISK": str(disk)} | dict(env or {}))
