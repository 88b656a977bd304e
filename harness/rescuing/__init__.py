"""Rescues: find the smallest change that gets a broken training past its break, and continue with it."""
