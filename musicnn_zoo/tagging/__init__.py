"""From sound to results: patches, scores, tags, embeddings and events."""
