"""The worker process: the only importer of caffe. It builds and steps the real solver and observes it."""
