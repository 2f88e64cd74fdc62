"""The page in a browser: it restores what onnxruntime restores in Python."""

import base64
import dataclasses
import json
import runpy
import shutil
import wave

import browser
import media
import numpy as np
import pytest
from moving import panned
from places import ROOT

from mtujax.deploy import onnx_file
from mtujax.model.network import MTUNet
from mtujax.weights.files import load

pytest.importorskip("onnxruntime")

RESTORE = """
const [name, provider, width, height, frames] = values;
const { load } = await import("/runtime.js");
const { Step } = await import("/step.js");
const bytes = new Uint8Array(await (await fetch(name)).arrayBuffer());
const step = await Step.open(bytes, await load(provider), provider);
async function* given() {
  for (const frame of frames) {
    const data = Uint8ClampedArray.from(atob(frame), (c) => c.charCodeAt());
    yield new ImageData(data, width, height);
  }
}
const found = [];
for await (const { blurry, restored } of step.deblur(given())) {
  found.push([...blurry.data], [...restored.data]);
}
await step.close();
return found;
"""
PIXELS = """
const canvas = document.getElementById(values[0]), { width, height } = canvas;
const context = canvas.getContext("2d");
return [height, width, ...context.getImageData(0, 0, width, height).data];
"""


def exported(network, path, **options):
    onnx_file.write_onnx(*network, path, **options)
    return path


@pytest.fixture(scope="module")
def page(tmp_path_factory, tiny):
    """(folder that is served, its address, the page in a browser without a GPU)."""
    folder = browser.build(tmp_path_factory.mktemp("web"))
    exported(tiny, folder / "step.onnx")
    with browser.served(folder) as address, browser.opened(address) as page:
        assert "on the CPU, which is slow" in page.wait("ready")
        yield folder, address, page


def of_python(path, frames):
    """What the deployment in Python makes of frames [H, W, 3]."""
    runner = runpy.run_path(str(ROOT / "examples" / "run_onnx.py"))
    return np.int16(list(runner["Step"](path, "cpu").deblur(frames)))


def of_page(page, path, frames, provider="wasm"):
    """Frames [T, H, W, 3], and what the page's module makes of them."""
    alpha = np.full_like(frames[..., :1], 255)
    given = [
        base64.b64encode(frame.tobytes()).decode()
        for frame in np.concatenate([frames, alpha], -1)
    ]
    height, width = frames.shape[1:3]
    found = page.script(RESTORE, path.name, provider, width, height, given)
    assert not isinstance(found, str), found
    found = np.int16(found).reshape(-1, 2, height, width, 4)
    assert (found[..., 3] == 255).all()
    np.testing.assert_array_equal(found[:, 0, ..., :3], frames)
    return found[:, 1, ..., :3]


def pixels(page, name):
    height, width, *data = page.script(PIXELS, name)
    return np.int16(data).reshape(height, width, 4)[..., :3]


@pytest.mark.slow
@pytest.mark.parametrize("name, size", [("tiny", (15, 61)), ("fast", (46, 61))])
def test_frames_are_those_of_the_cpu(page, tiny, name, size):
    folder, _, page = page
    network = tiny if name == "tiny" else load(name)
    path = exported(network, folder / f"{name}.onnx")
    frames = panned(6, *size)
    found, expected = of_page(page, path, frames), of_python(path, frames)
    assert np.abs(found - expected).max() <= 2
    assert np.abs(found - frames).max() > 2


@pytest.mark.slow
def test_half_precision_and_one_size_work_too(page, tiny):
    folder, _, page = page
    model, params = tiny
    half = MTUNet(dataclasses.replace(model.config, dtype="float16"))
    path = exported((half, params), folder / "half.onnx", size=(48, 32))
    frames = panned(3, 32, 48)
    found = of_page(page, path, frames)
    assert np.abs(found - of_python(path, frames)).max() <= 2


@pytest.mark.slow
def test_a_gpu_computes_the_same(page):
    folder, address, _ = page
    with browser.opened(address, *browser.SOFTWARE_GPU) as page:
        message = page.wait("ready")
        if "slow" in message:
            pytest.skip("this browser has no WebGPU in software")
        frames = panned(4, 32, 32)
        path = folder / "step.onnx"
        found = of_page(page, path, frames, "webgpu")
        assert np.abs(found - of_python(path, frames)).max() <= 2


@pytest.mark.slow
@pytest.mark.parametrize("name, codec", [("clip.webm", "libvpx-vp9"), ("c.mp4", None)])
def test_a_clip_that_is_dropped_is_restored(page, name, codec):
    folder, address, page = page
    options = {"codec": codec} if codec else {}
    clip = media.clip(folder / name, media.scene(7, 62, 46), **options)
    page.drop(name)
    assert page.wait("restored.") == f"{name}: 7 frames restored."
    assert page.text("frames") == "7" and page.text("lookahead") == "2 frames"
    assert page.text("pixels") == "62 × 46" and float(page.text("rate")) > 0
    assert int(page.text("latency").removesuffix(" ms")) > 0
    decoded = media.decode(clip)
    blurry, restored = (pixels(page, name) for name in ("blurry", "restored"))
    expected = of_python(folder / "step.onnx", decoded)
    # Chromium turns YUV into RGB in its own way.
    assert np.abs(blurry - decoded[-1]).mean() < 4
    assert np.abs(restored - expected[-1]).mean() < 4
    assert np.abs(restored - blurry).mean() > 4
    asked = page.script(
        "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    )
    assert asked and all(name.startswith((address, "blob:")) for name in asked)


@pytest.mark.slow
def test_what_is_wrong_is_said(page, tiny):
    folder, _, page = page
    step = (folder / "step.onnx").read_bytes()
    (folder / "text.mp4").write_text("no video")
    (folder / "empty.webm").write_bytes(b"")
    with wave.open(str(folder / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(8000))
    media.clip(folder / "old.mp4", media.scene(2), codec="mpeg4")
    media.clip(folder / "good.mp4", media.scene(3))
    (folder / "text.onnx").write_text("no step")
    (folder / "cut.onnx").write_bytes(step[: len(step) // 2])
    exported(tiny, folder / "fixed.onnx", size=(128, 64))
    onnx = pytest.importorskip("onnx")
    other = onnx.load(folder / "step.onnx")
    del other.metadata_props[:]
    onnx.save(other, folder / "other.onnx")
    other = onnx.load(folder / "step.onnx")
    del other.graph.node[3:]
    onnx.save(other, folder / "broken.onnx")
    for name, words in (
        ("text.mp4", "text.mp4: is no MP4, MOV, WebM or MKV, or is damaged"),
        ("empty.webm", "empty.webm: is no MP4, MOV, WebM or MKV, or is damaged"),
        ("sound.wav", "sound.wav: has no video stream"),
        ("old.mp4", "old.mp4: this browser cannot decode its codec (mp4v); convert"),
        ("text.onnx", "text.onnx: no step of `mtujax export` ("),
        ("cut.onnx", "cut.onnx: no step of `mtujax export` (ends too early)"),
        ("other.onnx", "other.onnx: no step of `mtujax export` (says nothing of its "),
        ("broken.onnx", "broken.onnx: damaged, or more than wasm takes here ("),
    ):
        page.drop(name)
        message = page.wait("ready", "restored.")
        assert words in message and "\n" not in message, message
        assert page.driver.find_element("id", "message").get_attribute("class")
    page.drop("fixed.onnx")
    assert "fixed.onnx is ready" in page.wait("ready")
    page.drop("good.mp4")
    assert page.wait("restored.") == (
        "the step takes frames of 128x64, and these are 64x48; export the step "
        "without --size"
    )
    page.drop("step.onnx")  # and after all that
    assert "step.onnx is ready" in page.wait("step.onnx is ready")
    page.click("camera")
    assert "there is no camera: connect one, or drop a clip" in page.wait("restored.")
    page.drop("good.mp4")
    assert page.wait("restored.") == "good.mp4: 3 frames restored."


@pytest.mark.slow
def test_a_camera_is_restored_until_it_is_stopped(page):
    _, address, _ = page
    with browser.opened(address, *browser.CAMERA) as page:
        page.wait("ready")
        page.script("document.getElementById('size').value = '320'")
        page.click("camera")
        page.wait("Restoring the camera")
        page.click("stop")
        message = page.wait("Stopped")
        assert int(message.split()[2]) >= 1, message
        assert page.text("pixels").startswith("320 × ")


@pytest.mark.slow
def test_without_a_step_the_page_says_how_to_get_one(page, tmp_path):
    folder, _, _ = page
    shutil.copytree(
        folder, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.onnx")
    )
    with browser.served(tmp_path) as address, browser.opened(address) as page:
        assert "`mtujax export fast step.onnx` writes one" in page.wait("step.onnx")
        page.click("camera")
        assert "There is no step yet" in page.wait("There is no step yet")


def test_the_lock_file_names_no_registry():
    lock = json.loads((browser.WEB / "package-lock.json").read_text())
    assert len(lock["packages"]) > 2
    assert not any("resolved" in package for package in lock["packages"].values())
