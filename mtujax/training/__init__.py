"""Training: configuration, losses, steps, checkpoints and logs."""
