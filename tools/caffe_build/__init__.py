"""Build BVLC Caffe into a wheel, for tools/setup."""
