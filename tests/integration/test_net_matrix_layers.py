"""Every net of the matrix trains, resumes, restarts and reports as `caffe train` does: layers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.net_matrix.checks import check
from tests.helpers.net_matrix.layers import NETS
from tests.helpers.net_matrix.parts import MatrixNet

pytestmark = pytest.mark.usefixtures("one_blas_thread")


@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
def test_a_net_is_trained_as_by_caffe(net: MatrixNet, matrix_data: Path, tmp_path: Path) -> None:
    check(net, matrix_data, tmp_path)
