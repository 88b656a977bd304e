"""Caffe's logs: what was printed, as series. Text in, numbers out; what they mean is for `harness.analysis`."""
