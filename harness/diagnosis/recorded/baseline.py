"""Numbers of iterations before an onset that make a baseline."""

PARAM_ROWS, BLOB_ROWS, MIN_ROWS = 200, 50, 4  # of param blobs, of blobs (of which only displays are taken), at least
