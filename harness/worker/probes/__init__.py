"""Probes: statistics and copies of a real Caffe net's blobs, on the host and on a GPU."""
