"""What computes a model, and what it can be exported to."""
