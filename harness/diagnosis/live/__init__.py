"""Rules on the numbers of a run: arrays in, alarms out. The same for a live run and for its recording."""
