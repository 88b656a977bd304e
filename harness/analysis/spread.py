"""Of normal noise: how its standard deviation is told from medians."""

SIGMA = 1.4826  # standard deviations in a median absolute deviation
