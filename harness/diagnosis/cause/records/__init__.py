"""Culprit records: what single records of a batch do, and what becomes of the training without them."""
