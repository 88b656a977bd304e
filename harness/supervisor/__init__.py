"""The supervisor process: plan a run, start the worker, record what it sends and survive its crashes."""
