"""The replay worker: a long-lived Caffe process that replays arms, one after the other, from a checkpoint."""
