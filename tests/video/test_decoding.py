"""The decoder on packets made up: what counts as damage, and what does not."""

from types import SimpleNamespace

import av
import pytest

from mtujax.video.decoding import Decoder
from mtujax.video.media import Clock


def decoded(script, *, name="h264", container="mov"):
    """Runs the decoder on (pts of a packet, frames that it gives) pairs."""
    context = SimpleNamespace(name=name, has_b_frames=0)
    stream = SimpleNamespace(codec_context=context, decode=lambda _: [])

    def packet(pts, frames):
        def decode():
            if frames is None:
                raise av.error.InvalidDataError(1, "damaged")
            return frames

        flags = {"is_corrupt": False, "is_discard": False}
        return SimpleNamespace(pts=pts, dts=pts, size=9, decode=decode, **flags)

    packets = [packet(*line) for line in script]
    decoder = Decoder(
        SimpleNamespace(
            format=SimpleNamespace(name=container), demux=lambda _: iter(packets)
        ),
        stream,
        Clock(),
        by_decoding=False,
    )
    return [pts for _, pts in decoder.frames()], decoder.damaged


def frame(pts, *, interlaced=False):
    return SimpleNamespace(pts=pts, is_corrupt=False, interlaced_frame=interlaced)


def test_second_fields_are_not_taken_for_damage():
    fields = [(i, [frame(i, interlaced=True)] if i % 2 == 0 else []) for i in range(20)]
    assert decoded(fields) == (list(range(0, 20, 2)), 0)


def test_hidden_frames_of_vp8_are_not_taken_for_damage():
    script = [(i, [frame(i)] if i % 5 else []) for i in range(1, 20)]
    wanted = [i for i in range(1, 20) if i % 5]
    assert decoded(script, name="vp8", container="matroska") == (wanted, 0)


@pytest.mark.parametrize("at", range(1, 20))
@pytest.mark.parametrize("failure", [None, []])
def test_a_packet_that_gives_nothing_is_replaced_wherever_it_is(at, failure):
    script = [(i, failure if i == at else [frame(i)]) for i in range(20)]
    assert decoded(script) == (list(range(20)), 1)


def test_frames_before_the_first_are_not_made_up():
    leading = [(4, []), (1, []), (2, None), (8, [frame(4)]), (6, [frame(6)])]
    assert decoded(leading + [(9, [frame(8), frame(9)])]) == ([4, 6, 8, 9], 0)
