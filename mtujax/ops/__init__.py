"""Pure array functions: no Flax, no state, no files."""
