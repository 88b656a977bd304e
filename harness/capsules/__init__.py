"""Capsules: one file each that reproduces a stretch of a run on another machine."""
