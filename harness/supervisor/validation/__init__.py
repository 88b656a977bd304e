"""Find bad input before Caffe sees it: Caffe aborts on most of it, and does not notice some of it at all."""
