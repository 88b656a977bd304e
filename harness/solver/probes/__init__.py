"""What is seen of a real Caffe net: its blobs, their statistics, copies of them; on the host and on a GPU."""
