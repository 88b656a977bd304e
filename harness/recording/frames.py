"""Tables of numbers as pandas DataFrames, for those who have installed pandas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd


def data_frame(columns: Mapping[str, npt.NDArray[Any]], iterations: npt.NDArray[np.int64]) -> pd.DataFrame:
    """Return `columns`, each (T,), as a DataFrame whose index is `iterations` (T,).

    Raises:
        ModuleNotFoundError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ModuleNotFoundError as error:
        error.add_note("pandas is an extra of caffe-harness: pip install pandas")
        raise
    return pd.DataFrame(dict(columns), index=pd.Index(iterations, name="iteration"))
