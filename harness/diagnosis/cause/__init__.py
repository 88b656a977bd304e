"""Find the cause of a break from replays with one thing changed: which to make, and what they say. Pure functions."""
