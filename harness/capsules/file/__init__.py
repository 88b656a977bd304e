"""The file of a capsule: written, and read without believing anything that it says."""
