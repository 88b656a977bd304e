"""The stages of an investigation: each asks one question of the training, as a procedure."""
