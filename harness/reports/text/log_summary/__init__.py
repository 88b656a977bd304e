"""Summarise the findings about a log in sentences."""
