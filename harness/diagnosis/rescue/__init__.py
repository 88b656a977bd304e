"""Get a training past its break: what may help, trials of it, and which of what helps is best. Pure functions."""
