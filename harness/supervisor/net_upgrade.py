"""Upgrade nets in the format of Caffe before 2014 with Caffe's own tool, `upgrade_net_proto_text`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from harness.caffe_files.messages import pb, read_text
from harness.caffe_log.death import death_message, without_header
from harness.errors import BadInput


def upgrade_net(path: Path) -> pb.NetParameter:
    """Return the net in the file `path` (`layers { … }`) as a NetParameter with `layer { … }`.

    Raises:
        BadInput: Caffe cannot upgrade it.
    """
    tool = Path(sys.executable).with_name("upgrade_net_proto_text")
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / path.name
        done = subprocess.run([tool, path, target], capture_output=True, check=False)
        if done.returncode != 0:
            words = death_message(done.stderr.decode(errors="replace").splitlines())
            said = "; ".join(without_header(line).rstrip(" .") for line in words)
            raise BadInput(
                f"Caffe cannot upgrade this old net: {said or 'it gives no reason'}",
                file=path,
                remedy="Write it with `layer { … }`",
            )
        return read_text(target, pb.NetParameter, "net")
