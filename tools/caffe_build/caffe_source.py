"""The source of Caffe: the pinned sdist, verified before it is opened, or a checkout of the user's."""

import base64
import fnmatch
import hashlib
import html
import os
import re
import shutil
import ssl
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

PROJECT = "brocolli-caffe"
SDIST = "brocolli-caffe-3.0.0.tar.gz"
SHA256 = "ad7ba487552f4343df25044a9fa14812a96add48ea2ff993b53bf2dafe8248e2"
COMMIT = "9b89154"

# The parts of a source tree that the build reads. The rest (models, data, a build of the user's) is neither hashed nor
# copied.
PARTS = ("CMakeLists.txt", "LICENSE", "cmake", "docs/CMakeLists.txt", "include", "matlab", "python", "src", "tools")
GENERATED = ("*.pyc", "*_pb2.py", "*.pb.h", "*.pb.cc", "*.so")

# OpenCV 4 removed these names.
EDITED = ("src/caffe/util/io.cpp", "src/caffe/layers/window_data_layer.cpp")
EDITS = (
    ("CV_LOAD_IMAGE_COLOR", "cv::IMREAD_COLOR"),
    ("CV_LOAD_IMAGE_GRAYSCALE", "cv::IMREAD_GRAYSCALE"),
    ("#include <opencv2/highgui/highgui_c.h>\n", ""),
)
# CUDA 13 removed these fields of cudaDeviceProp, which Caffe only prints (Caffe::DeviceQuery).
CUDA_EDITED = ("src/caffe/common.cpp",)
CUDA_EDITS = (
    ('  LOG(INFO) << "Clock rate:                    " << prop.clockRate;\n', ""),
    ('  LOG(INFO) << "Concurrent copy and execution: "\n      << (prop.deviceOverlap ? "Yes" : "No");\n', ""),
    (
        '  LOG(INFO) << "Kernel execution timeout:      "\n      << (prop.kernelExecTimeoutEnabled ? "Yes" : "No");\n',
        "",
    ),
)


class CannotBuild(Exception):
    """A requirement of the build is missing, or is not the pinned one; the message names the remedy."""


def tree_sha256(tree: Path) -> str:
    """Hash the names and contents of all files that the build reads."""
    lines = (f"{hashlib.sha256((tree / name).read_bytes()).hexdigest()}  {name}\n" for name in _source_files(tree))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def copy_tree(tree: Path, target: Path) -> None:
    """Copy the files of `tree` that the build reads into the new directory `target`."""
    for name in _source_files(tree):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tree / name, target / name)


def _source_files(tree: Path) -> Iterator[str]:
    for part in PARTS:
        top = tree / part
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file() and not any(fnmatch.fnmatch(path.name, pattern) for pattern in GENERATED):
                yield path.relative_to(tree).as_posix()


def edit(tree: Path, cuda: bool = False) -> None:
    """Make a tree of Caffe 1.0 compile with OpenCV 4 (and CUDA 13), and without examples, which the sdist lacks."""
    _replace(tree, EDITED, EDITS)
    if cuda:
        _replace(tree, CUDA_EDITED, CUDA_EDITS)
    (tree / "examples").mkdir()
    (tree / "examples/CMakeLists.txt").touch()


def _replace(tree: Path, names: Iterable[str], edits: Iterable[tuple[str, str]]) -> None:
    for path in (tree / name for name in names):
        if path.exists():
            text = path.read_text()
            for old, new in edits:
                text = text.replace(old, new)
            path.write_text(text)


def unpack_pinned(cache: Path, target: Path) -> None:
    """Unpack the pinned sdist into the new directory `target`; download it into `cache` first if it is not there.

    No code of the package is run. pip would run its setup.py, even to download it.
    """
    sdist = cache / SDIST
    if not sdist.exists():
        download(sdist)
    _verify(sdist.read_bytes(), f"{sdist} was not opened; delete it and run again")
    with tempfile.TemporaryDirectory(dir=target.parent) as unpacked, tarfile.open(sdist) as archive:
        archive.extractall(unpacked)  # safe: its hash is known
        copy_tree(Path(unpacked) / SDIST.removesuffix(".tar.gz"), target)


def download(sdist: Path) -> None:
    """Fetch the sdist from the index that pip is configured for."""
    page_url = f"{_index_url().rstrip('/')}/{PROJECT}/"
    try:
        page = _get(page_url).decode()
        found = re.search(rf'href="([^"]*/)?({re.escape(SDIST)}[^"]*)"', page)
        if not found:
            raise CannotBuild(f"{SDIST} is not listed by pip's package index")
        content = _get(urllib.parse.urljoin(page_url, html.unescape((found[1] or "") + found[2])))
    except (OSError, ValueError) as error:
        raise CannotBuild(f"{SDIST} cannot be downloaded from pip's package index: {error}") from error
    _verify(content, f"{SDIST} from pip's package index was discarded")
    with tempfile.TemporaryDirectory(dir=sdist.parent) as directory:
        (Path(directory) / SDIST).write_bytes(content)
        os.replace(Path(directory) / SDIST, sdist)


def _verify(content: bytes, refusal: str) -> None:
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != SHA256:
        raise CannotBuild(f"{refusal}: it is not the pinned source; its sha256 is {sha256} and should be {SHA256}")


def _index_url() -> str:
    return (
        os.environ.get("PIP_INDEX_URL")
        or _output("-m", "pip", "config", "get", "global.index-url")
        or _output("-c", "from pip._internal.models.index import PyPI; print(PyPI.simple_url)")  # pip's own default
    )


def _output(*arguments: str) -> str:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False).stdout.strip()


def _get(url: str) -> bytes:
    """Fetch `url` with pip's certificates; a user and password in it are sent as a header."""
    parts = urllib.parse.urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(parts._replace(netloc=host, fragment="").geturl())
    if at:
        request.add_header("Authorization", "Basic " + base64.b64encode(urllib.parse.unquote(user).encode()).decode())
    context = ssl.create_default_context(cafile=os.environ.get("PIP_CERT"))
    with urllib.request.urlopen(request, timeout=60, context=context) as response:
        return bytes(response.read())
