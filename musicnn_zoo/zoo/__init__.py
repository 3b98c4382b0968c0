"""The zoo: trained models, where their weights are, and how they are loaded and shared."""
