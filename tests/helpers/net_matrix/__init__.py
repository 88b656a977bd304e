"""Small nets which together have all layer types of BVLC Caffe, and odd names and numbers that Caffe accepts."""
