"""Back-ends: from a feature map of any length to the tags."""
