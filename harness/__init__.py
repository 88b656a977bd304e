"""A flight recorder and time machine for training runs of the real BVLC Caffe."""

__version__ = "0.2.0"
