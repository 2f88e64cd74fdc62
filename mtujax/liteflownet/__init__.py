"""LiteFlowNet in JAX: optical flow for motion labels."""
