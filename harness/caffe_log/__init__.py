"""Parse the log of any Caffe: bytes in, series out. `harness.diagnosis` interprets them."""
