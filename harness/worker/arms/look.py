"""Look at all blobs of a net during an iteration."""

from __future__ import annotations

import numpy as np

from harness.caffe_files.messages import pb
from harness.caffe_files.net import relus
from harness.worker.probes.blobs import ActivationProbe
from harness.worker.probes.memory import Memory
from harness.worker.pycaffe import Net

_LARGEST, _ZEROS = 1, 2  # of the statistics of ActivationProbe


class Look:
    """Looks at the blobs of `net`, whose message is `prototxt`, after each forward pass."""

    def __init__(self, net: Net, prototxt: pb.NetParameter, memory: Memory) -> None:
        self._probe = ActivationProbe(net, memory)
        self._names = [blob.name for blob in self._probe.activations]
        self._relus = relus(prototxt.layer)
        self.begin()

    def begin(self) -> None:
        """Prepare for the next iteration."""
        self._peaks = np.zeros(len(self._names))
        self._zeros = np.zeros(len(self._names))
        self._passes = 0

    def add(self) -> None:
        """Look at what a forward pass has left in the blobs."""
        statistics = self._probe.stats()
        self._peaks = np.maximum(self._peaks, statistics[:, _LARGEST])
        self._zeros += statistics[:, _ZEROS]
        self._passes += 1

    @property
    def peaks(self) -> dict[str, float]:
        """The largest magnitude in each blob, by name."""
        return dict(zip(self._names, self._peaks.tolist(), strict=True))

    @property
    def zero_fractions(self) -> dict[str, float]:
        """The share of zeros in each blob that a ReLU wrote, by name."""
        shares = dict(zip(self._names, (self._zeros / max(self._passes, 1)).tolist(), strict=True))
        return {name: shares[name] for name in self._relus if name in shares}
