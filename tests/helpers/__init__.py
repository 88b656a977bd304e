"""Helpers of several test files: paths, processes, small data sets and nets, readers of Caffe's files."""
