"""Many files at once: results written as they come, and resumed."""
