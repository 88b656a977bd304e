"""Rules that tell from a run's numbers that something is wrong with it. Arrays in, alarms out."""
