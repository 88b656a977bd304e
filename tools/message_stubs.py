"""Write Caffe's protobuf messages into harness/caffe_files: caffe_pb2.pyi, their types for mypy and editors, and
caffe_pb2.py, which takes the place of the build's where Caffe is not installed.

    .venv/bin/python -m tools.message_stubs            write the files
    .venv/bin/python -m tools.message_stubs --check    exit with 1 if one differs from what would be written

The messages are those of the caffe.proto that Caffe was built with. caffe_pb2.py, which its build generated, holds that
file's descriptor; mypy-protobuf turns it into a stub.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from harness.caffe_files.messages import caffe_directory, pb

ROOT = Path(__file__).resolve().parents[1]
STUB = ROOT / "harness/caffe_files/caffe_pb2.pyi"
COPY = STUB.with_suffix(".py")
PLUGIN = Path(sys.prefix) / "bin/protoc-gen-mypy"


def stub_text() -> str:
    """Generate the stub, with the plugin for protoc that mypy-protobuf installs."""
    proto = FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(proto)
    request = CodeGeneratorRequest(file_to_generate=[proto.name], parameter="quiet", proto_file=[proto])
    reply = subprocess.run([PLUGIN], input=request.SerializeToString(), stdout=subprocess.PIPE, check=True).stdout
    return CodeGeneratorResponse.FromString(reply).file[0].content


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the types of Caffe's protobuf messages.")
    parser.add_argument("--check", action="store_true", help="only compare with the files")
    options = parser.parse_args()
    texts = {STUB: stub_text(), COPY: (caffe_directory() / "proto/caffe_pb2.py").read_text()}
    differing = []
    for path, text in texts.items():
        if not options.check:
            path.write_text(text)
        elif not path.is_file() or path.read_text() != text:
            differing.append(path)
    for path in differing:
        print(f"{path}: differs from the caffe.proto of this build. Run python -m tools.message_stubs", file=sys.stderr)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
