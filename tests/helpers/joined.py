"""Files taken through reader, parts and joining, for the tests of what comes out."""

import dataclasses

import av

from mtujax.common.files import publish
from mtujax.deblur.output import VideoSink
from mtujax.video.codecs import choose
from mtujax.video.reader import VideoReader


def copy(source, output, *, every=None, start=None, end=None, codec=None):
    """Takes a file through reader, parts and joining; returns all notes."""
    notes = []
    with VideoReader(source) as reader:
        encoding = choose(output.suffix, reader.info, codec=codec)
        extras = reader.extras(output.suffix, encoding.container.format)
        sink = VideoSink(output.parent, "part", reader.info, encoding)
        for number, (frame, pts) in enumerate(reader.frames(start=start, end=end), 1):
            sink.write(frame, pts)
            if every and number % every == 0:
                sink.end_segment()
        shift, first, last = reader.span
        extras = dataclasses.replace(extras, shift=shift, start=first, end=last)
        with sink.made(output, extras=extras, on_note=notes.append) as made:
            publish(made, overwrite=True)
        return [*encoding.notes, *extras.notes, *notes, *reader.late_notes]


def packets(path, kind, index=0):
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[index]
        return [bytes(packet) for packet in container.demux(stream) if packet.size]
