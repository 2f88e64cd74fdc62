"""Deblurs a video with an exported step; needs neither JAX nor mtujax.

    mtujax export fast step.onnx                        # where mtujax is installed
    pip install onnxruntime av numpy                    # elsewhere
    python examples/run_onnx.py step.onnx IN.mp4 OUT.mp4
    python examples/run_onnx.py step.onnx IN.mp4 OUT.mkv --provider cuda

An .mkv is written without loss (FFV1), all else as H.264. The pictures and their times
are kept; a phone's are turned upright. The aspect of pixels is kept, but not in .mkv,
which shows them square. Sound and mirroring are not kept, and the video is taken for
one shot. This is a deployment in one file, to be taken as a pattern: any frame source
would do.
"""

import argparse
import collections
import contextlib
import fractions
import os
import pathlib
import sys
import time

try:
    import av
    import numpy as np
    import onnxruntime
except ImportError as missing:
    sys.exit(f"{missing.name} is not installed; pip install onnxruntime av numpy")

PROVIDERS = {  # name of onnxruntime's, its options, the package that has it
    "cpu": ("CPUExecutionProvider", {}, "onnxruntime"),
    # The motion wants all bits of float32, which TF32 has not.
    "cuda": ("CUDAExecutionProvider", {"use_tf32": "0"}, "onnxruntime-gpu"),
    "tensorrt": ("TensorrtExecutionProvider", {}, "onnxruntime-gpu, and TensorRT"),
    "openvino": ("OpenVINOExecutionProvider", {}, "onnxruntime-openvino"),
    "dml": ("DmlExecutionProvider", {}, "onnxruntime-directml"),
    "coreml": ("CoreMLExecutionProvider", {}, "onnxruntime, on a Mac"),
}
SCALING = 0x4 | 0x2000 | 0x40000  # bicubic, full chroma, accurate rounding
BT709, BT601, LIMITED, FULL = 1, 6, 1, 2


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", type=pathlib.Path, help="of `mtujax export`, a .onnx")
    parser.add_argument("input", type=pathlib.Path, help="video file")
    parser.add_argument("output", type=pathlib.Path, help="video file to create")
    parser.add_argument("--provider", choices=PROVIDERS, default="cpu")
    args = parser.parse_args()
    if args.output.exists():
        sys.exit(f"{args.output}: exists already; name another file")
    if not args.output.parent.is_dir():
        sys.exit(f"{args.output.parent}: no such folder; create it for the output")
    step = Step(args.step, args.provider)
    part = args.output.with_name(f"{args.output.stem}.part{args.output.suffix}")
    start, count = time.monotonic(), 0
    try:
        with Video(args.input) as video, Writer(part, video) as writer:
            times = collections.deque()
            for frame in step.deblur(video.frames(times)):
                writer.write(frame, times.popleft())
                count += 1
                rate = count / (time.monotonic() - start)
                print(f"\r{count} frames, {rate:.1f} a second", end="", file=sys.stderr)
        if not count:
            sys.exit(f"{args.input}: has no frame that can be decoded")
        os.replace(part, args.output)
    except (OSError, av.FFmpegError) as error:
        sys.exit(f"{error.filename or args.output}: {error.strerror}")
    finally:
        if count:
            print(file=sys.stderr)
        part.unlink(missing_ok=True)
    print(f"{args.output}: {count} frames")


class Step:
    """The network of one frame, and all that it says of itself."""

    def __init__(self, path, provider):
        """Opens the file with one of `PROVIDERS`."""
        name, options, package = PROVIDERS[provider]
        if name not in onnxruntime.get_available_providers():
            sys.exit(
                f"--provider {provider}: not in this onnxruntime; `pip install "
                f"{package}` brings one that has it"
            )
        if not path.is_file():
            sys.exit(f"{path}: no such file; `mtujax export fast {path}` writes one")
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(
                path, settings, providers=[(name, options)]
            )
            about = self.session.get_modelmeta().custom_metadata_map
            self.before, self.after = int(about["lookback"]), int(about["lookahead"])
            self.multiple, self.least = int(about["multiple"]), int(about["least"])
        except Exception as error:  # of any kind: what is read may be garbage
            reason = str(error).splitlines()[0]
            sys.exit(f"{path}: no step of `mtujax export`, or damaged ({reason})")
        if self.session.get_providers()[0] != name:  # it takes another without a word
            sys.exit(
                f"--provider {provider}: does not start here; install the libraries "
                f"that {package} needs, or name another provider"
            )
        self.path, self.outputs = path, [o.name for o in self.session.get_outputs()]

    def deblur(self, frames):
        """Restores frames [H, W, 3] uint8 RGB one after the other.

        It holds no more than the window: `after` frames of latency.
        """
        state, window = None, collections.deque(maxlen=self.before + 1 + self.after)
        for frame in self.with_ends(frames):
            height, width = frame.shape[:2]
            window.append(self.padded(frame))
            if len(window) < window.maxlen:
                continue
            if state is None:
                state = self.first_state(frame)
            inputs = {"window": np.stack(window), **state}
            found = dict(zip(self.outputs, self.session.run(None, inputs), strict=True))
            state = {name: found[f"next_{name[6:]}"] for name in state}
            yield found["restored"][:height, :width]

    def with_ends(self, frames):
        """Frames with the first and the last one repeated, as the window asks."""
        last = None
        for frame in frames:
            if last is None:
                yield from [frame] * self.before
            last = frame
            yield frame
        if last is not None:
            yield from [last] * self.after

    def padded(self, frame):
        """Extends a frame below and to the right, by reflection."""
        sides = frame.shape[:2]
        wanted = [
            max(-(-n // self.multiple) * self.multiple, self.least) for n in sides
        ]
        edges = [(0, n - old) for n, old in zip(wanted, sides, strict=True)]
        return np.pad(frame, [*edges, (0, 0)], mode="reflect")

    def first_state(self, frame):
        """What stands before the first frame of a video; a new one after a cut."""
        height, width = self.padded(frame).shape[:2]
        *_, rows, columns, _ = self.session.get_inputs()[0].shape
        if isinstance(rows, int) and (rows, columns) != (height, width):
            sys.exit(
                f"{self.path}: takes frames of {columns}x{rows}, and the video is "
                f"{frame.shape[1]}x{frame.shape[0]}; export the step without --size"
            )
        sizes = {}
        for name, size in (("h", height), ("w", width)):
            size //= self.multiple  # of the motion grid
            sizes |= {f"{k}*{name}": k * size for k in (4, self.multiple)}
            sizes[name] = size
        kinds = {
            "tensor(float)": np.float32,
            "tensor(float16)": np.float16,
            "tensor(bool)": bool,
        }
        return {
            value.name: np.full(
                [sizes.get(n, n) for n in value.shape],
                value.name == "state_is_first",
                kinds[value.type],
            )
            for value in self.session.get_inputs()[1:]
        }


class Video(contextlib.AbstractContextManager):
    """A video file's pictures as RGB."""

    def __init__(self, path):
        """Opens the file."""
        self.container = av.open(path)
        if not self.container.streams.video:
            self.container.close()
            sys.exit(f"{path}: has no video stream")
        self.stream = self.container.streams.video[0]
        self.stream.thread_type = "AUTO"
        self.size = self.matrix = self.turns = None

    def __exit__(self, *_):
        """Closes the file."""
        self.container.close()

    def frames(self, times):
        """Yields frames [H, W, 3]; appends their times to `times`."""
        for frame in self.container.decode(self.stream):
            if self.size is None:
                self.size = frame.width, frame.height
                self.matrix = matrix_of(frame)
                self.turns = round(frame.rotation / 90) % 4
            rgb = frame.reformat(
                *self.size,
                format="rgb24",
                src_colorspace=self.matrix,
                src_color_range=FULL if is_full_range(frame) else LIMITED,
                interpolation=SCALING,
            )
            times.append(frame.pts)
            yield np.ascontiguousarray(rgb.to_ndarray())


def matrix_of(frame):
    """How a frame's colours are coded; guessed as players do where nothing says it."""
    if frame.format.is_rgb:
        return BT709
    if int(frame.colorspace) not in (0, 2):
        return int(frame.colorspace)
    return BT709 if min(frame.width, frame.height) >= 720 else BT601


def is_full_range(frame):
    """Whether a frame's levels fill 0 to 255."""
    old = frame.format.name.startswith("yuvj")
    return old or frame.format.is_rgb or int(frame.color_range) == FULL


class Writer(contextlib.AbstractContextManager):
    """Encodes frames with the times of another video."""

    def __init__(self, path, video):
        """Opens the file; the encoder starts with the first frame."""
        self.video, self.stream = video, None
        try:
            self.container = av.open(path, "w")
        except ValueError:
            sys.exit(f"{path.suffix}: no kind of video; name the output .mp4 or .mkv")

    def __exit__(self, kind, *_):
        """Ends the file, and closes it in any case."""
        if kind is None and self.stream:
            self.container.mux(self.stream.encode())
        self.container.close()

    def write(self, frame, pts):
        """Encodes a frame [H, W, 3] uint8 RGB."""
        if self.stream is None:
            self.stream = self.started()
        upright = np.ascontiguousarray(np.rot90(frame, self.video.turns))
        yuv = av.VideoFrame.from_ndarray(upright, format="rgb24")
        yuv = yuv.reformat(
            format=self.stream.pix_fmt,
            dst_colorspace=self.video.matrix,
            dst_color_range=LIMITED,
            interpolation=SCALING,
        )
        yuv.pts, yuv.time_base = pts, self.video.stream.time_base
        self.container.mux(self.stream.encode(yuv))

    def started(self):
        """A stream for frames of the video's size and colours."""
        lossless = self.container.format.name == "matroska"
        rate = self.video.stream.average_rate or 30
        codec = "ffv1" if lossless else "libx264"
        try:
            stream = self.container.add_stream(codec, rate)
        except ValueError as error:  # as of .webm
            sys.exit(f"{error}; name the output .mp4 or .mkv")
        aspect = self.video.stream.sample_aspect_ratio or fractions.Fraction(1)
        size = self.video.size
        if self.video.turns % 2:
            aspect, size = 1 / aspect, size[::-1]
        stream.width, stream.height = size
        stream.codec_context.sample_aspect_ratio = aspect
        odd = any(n % 2 for n in self.video.size)
        stream.pix_fmt = "bgr0" if lossless else "yuv444p" if odd else "yuv420p"
        stream.codec_context.time_base = self.video.stream.time_base
        if not lossless:
            stream.options = {"crf": "16"}
            stream.codec_context.colorspace = self.video.matrix
            stream.codec_context.color_range = LIMITED
        return stream


if __name__ == "__main__":
    main()
