"""The types of Caffe's protobuf messages, which are generated and committed."""

import sys

from tests.helpers.processes import command


def test_stub_is_what_the_pinned_caffe_proto_gives() -> None:
    done = command(sys.executable, "-m", "tools.message_stubs", "--check")
    assert (done.code, done.stderr) == (0, "")
