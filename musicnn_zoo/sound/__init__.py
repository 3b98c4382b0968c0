"""Sound: from files, pipes and arrays to mono samples at one rate."""
