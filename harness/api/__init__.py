"""The public functions of `harness`, which exports them and imports them when they are first used."""
