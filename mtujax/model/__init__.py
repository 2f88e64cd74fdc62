"""The network, its step, and the ways to drive it over a clip, a stream or tiles."""
