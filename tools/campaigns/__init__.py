"""Robustness campaigns: thousands of generated cases, each checked for a clean end."""
