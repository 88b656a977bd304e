"""Arms and legs on the workers of a Dask cluster."""

from harness.cluster.arms import arms_on
from harness.cluster.legs import legs_on

__all__ = ["arms_on", "legs_on"]
