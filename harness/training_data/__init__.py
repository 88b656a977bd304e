"""The training data of a run, read again after it: the records of any iteration's batch, as the net saw them."""
