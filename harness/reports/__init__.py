"""Render findings: terminal, text, HTML, figures, TensorBoard."""
