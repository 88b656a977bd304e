"""Render findings as text."""
