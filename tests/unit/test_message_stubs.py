"""The types of Caffe's protobuf messages, which are generated and committed."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_stub_is_what_the_pinned_caffe_proto_gives() -> None:
    done = subprocess.run([sys.executable, ROOT / "tools/message_stubs", "--check"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
