"""Times of a network's step, with all that they depend on."""
