"""Compiled programs, kept on disk for the next start."""

import os

CACHE = "~/.cache/mtujax/jax"
"""Where they are kept, unless something else is asked for."""


def use_cache(folder: str | None) -> None:
    """Keeps the programs that are compiled from now on, and takes those kept before.

    Args:
        folder: where; "" for nowhere, None for what the environment says, else `CACHE`.
    """
    import jax

    if folder is None:
        if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
            return
        folder = CACHE
    if not folder:
        return
    jax.config.update("jax_compilation_cache_dir", os.path.expanduser(folder))
    # Small ones, too: a GPU's compiler takes its time for each of them.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
