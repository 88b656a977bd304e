"""What several test files use: paths, processes, small data sets and nets, readers of what Caffe wrote."""
