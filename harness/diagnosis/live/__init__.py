"""Rules on the numbers of a run, the same for a live run and for its recording: arrays in, alarms out."""
