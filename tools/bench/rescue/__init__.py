"""The benchmark of rescue: planted faults that it has to get past, compared with two simple ways to do so."""
