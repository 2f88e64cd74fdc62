"""Videos deblurred: options, memory, interruption and output."""
