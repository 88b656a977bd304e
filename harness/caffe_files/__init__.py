"""Read, check, change and write Caffe's files without running Caffe. Starts no process."""
