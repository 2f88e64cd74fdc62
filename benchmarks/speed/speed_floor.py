"""What a device can do at best, measured: matrix products and memory.

    python -m benchmarks.speed.speed_floor [--dtypes float32 ...] [--quick]

The floor of a step is the longer of two times: its multiply-adds at the rate of the
best matrix product, and its bytes at the rate of the best copy. Left out are what fits
neither: launches, operations that wait for each other, shapes that no matrix unit
likes (few channels), everything that is no product, and that both must overlap. Of
JAX and PyTorch, where it is installed, the faster one counts: the floor is of the
machine.
"""

import argparse
import json
import time

import jax
import jax.numpy as jnp

from benchmarks.helpers.runs import torch_module

SIZES = {"cpu": (512, 1024, 2048), "other": (2048, 4096, 8192, 16384)}
VALUES = {"cpu": 2**26, "other": 2**28}  # float32 in each array that is copied
REPEATS = 5
IN_ONE_GO = 8  # calls between two waits, on an accelerator


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtypes", nargs="+", default=["float32"])
    parser.add_argument("--quick", action="store_true", help="tiny, to see it run")
    parser.add_argument("--out", help="file for the figures, else they are printed")
    args = parser.parse_args()
    text = json.dumps(rates(args.dtypes, quick=args.quick), indent=1)
    if args.out is None:
        return print(text)
    with open(args.out, "w") as file:
        file.write(text)


def rates(dtypes, *, quick=False):
    """FLOP/s of the best product by dtype, bytes/s of the best copy, and all tried."""
    kind = "cpu" if jax.default_backend() == "cpu" else "other"
    sizes = (64, 128) if quick else SIZES[kind]
    count = 2**16 if quick else VALUES[kind]
    products = [one for dtype in dtypes for one in _products(dtype, sizes)]
    copies = list(_copies(count))
    return {
        "flops_per_s": {
            dtype: max(p["rate"] for p in products if p["dtype"] == dtype)
            for dtype in dtypes
        },
        "bytes_per_s": max(copy["rate"] for copy in copies),
        "products": products,
        "copies": copies,
    }


def floor(flops, moved, flops_per_s, bytes_per_s):
    """Milliseconds that a step takes at least, and by which of the two."""
    times = {"products": 1e3 * flops / flops_per_s}
    if moved is not None:
        times["memory"] = 1e3 * moved / bytes_per_s
    bound = max(times, key=times.get)
    return times[bound], bound


def _products(dtype, sizes):
    """Rates of square products, one size and one library after the other."""
    torch = torch_module()
    for size in sizes:
        flops = 2 * size**3
        a, b = jax.random.normal(jax.random.key(0), (2, size, size), dtype)
        multiply = jax.jit(jnp.matmul)
        seconds = _best(lambda m=multiply, a=a, b=b: m(a, b), jax.block_until_ready)
        about = {"dtype": dtype, "size": size}
        yield {**about, "by": "jax", "rate": flops / seconds}
        if torch is not None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
            pair = torch.randn(2, size, size, device=device).to(getattr(torch, dtype))
            seconds = _best(lambda p=pair: p[0] @ p[1], _torch_wait(torch))
            yield {**about, "by": "torch", "rate": flops / seconds}


def _copies(count):
    """Rates of b + c / 2 written over b: two arrays read and one written."""
    moved = 3 * 4 * count
    b, c = jnp.ones((2, count), jnp.float32)
    triad = jax.jit(lambda b, c: b + 0.5 * c, donate_argnums=0)
    kept = [b]  # each call takes the memory of its argument

    def run():
        kept[0] = triad(kept[0], c)
        return kept[0]

    yield {"by": "jax", "values": count, "rate": moved / _best(run)}
    if (torch := torch_module()) is not None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        b, c = torch.ones(2, count, device=device)
        seconds = _best(lambda: b.add_(c, alpha=0.5), _torch_wait(torch))
        yield {"by": "torch", "values": count, "rate": moved / seconds}


def _torch_wait(torch):
    return lambda _: torch.cuda.synchronize() if torch.cuda.is_available() else None


def _best(run, wait=jax.block_until_ready):
    """Seconds of the fastest of some calls; a few in one go where a wait costs."""
    calls = 1 if jax.default_backend() == "cpu" else IN_ONE_GO
    wait(run())
    least = float("inf")
    for _ in range(REPEATS):
        started = time.perf_counter()
        for _ in range(calls):
            last = run()
        wait(last)
        least = min(least, (time.perf_counter() - started) / calls)
    return least


if __name__ == "__main__":
    main()
