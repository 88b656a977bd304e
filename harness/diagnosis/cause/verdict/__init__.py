"""The verdict: what the stages together say, and how it is put into words."""
