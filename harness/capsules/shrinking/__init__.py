"""Leave out of a capsule what its break does not need."""
