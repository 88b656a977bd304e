"""Diagnose a training run from its frames (live), its recording (recorded) or its log (logged)."""
