"""Exact replay: where a training stands in its data and random numbers, and how real Caffe is brought there."""
