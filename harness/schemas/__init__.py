"""Typed data that processes and files exchange. No I/O, no Caffe, no HDF5."""
