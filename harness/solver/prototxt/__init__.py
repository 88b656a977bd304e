"""Caffe's messages without Caffe: read, check, change and write solver and net files."""
