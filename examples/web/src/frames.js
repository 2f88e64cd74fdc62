// The frames of a clip or a camera, as ImageData that knows when it was captured.

import { ALL_FORMATS, BlobSource, Input, VideoSampleSink } from "./lib/mediabunny.mjs";
import { UserError } from "./step.js";

/** Yields all frames of a video file, no side longer than `most` pixels. */
export async function* clipFrames(file, most) {
  if (!globalThis.VideoDecoder) {
    throw new UserError(
      "this browser has no WebCodecs for this page, which decode a clip: open it over " +
        "https or on localhost, in Chrome, Edge, Safari or Firefox of this time",
    );
  }
  const input = new Input({ source: new BlobSource(file), formats: ALL_FORMATS });
  try {
    if (!(await input.canRead().catch(() => false))) {
      throw new UserError(`${file.name}: is no MP4, MOV, WebM or MKV, or is damaged`);
    }
    const track = await input.getPrimaryVideoTrack();
    if (!track) throw new UserError(`${file.name}: has no video stream`);
    if (!(await track.canDecode())) {
      const codec = track.codec ?? track.internalCodecId ?? "unknown";
      throw new UserError(
        `${file.name}: this browser cannot decode its codec (${codec}); convert it: ` +
          "ffmpeg -i CLIP -c:v libx264 -pix_fmt yuv420p NEW.mp4",
      );
    }
    const shrunk = new Shrunk(track.displayWidth, track.displayHeight, most);
    let start = null;
    for await (const sample of new VideoSampleSink(track).samples()) {
      const { width, height } = shrunk;
      sample.draw(shrunk.context, 0, 0, width, height);
      start ??= sample.timestamp;
      const time = 1000 * (sample.timestamp - start);
      sample.close();
      yield Object.assign(shrunk.frame(), { time });
    }
    if (start === null) throw new UserError(`${file.name}: has no frame`);
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${file.name}: cannot be decoded, it may be damaged (${error.message})`);
  } finally {
    input.dispose();
  }
}

/** Yields the latest frame of a camera whenever one is wanted. */
export async function* cameraFrames(most, signal) {
  const video = document.createElement("video");
  Object.assign(video, { muted: true, playsInline: true, srcObject: await camera(most) });
  const [track] = video.srcObject.getVideoTracks();
  const gone = new Promise((resolve) => {
    track.addEventListener("ended", () => resolve(false));
    signal.addEventListener("abort", () => resolve(false));
  });
  try {
    await video.play();
    const next = () => new Promise((done) => video.requestVideoFrameCallback(() => done(true)));
    let shrunk = null;
    while (await Promise.race([next(), gone])) {
      shrunk ??= new Shrunk(video.videoWidth, video.videoHeight, most);
      shrunk.context.drawImage(video, 0, 0, shrunk.width, shrunk.height);
      yield shrunk.frame();
    }
    if (!signal.aborted) throw new UserError("the camera has gone");
  } finally {
    track.stop();
  }
}

async function camera(most) {
  if (!navigator.mediaDevices) {
    throw new UserError("a camera needs a page over https or on localhost");
  }
  try {
    return await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: most } } });
  } catch (error) {
    const reasons = {
      NotAllowedError: "the camera was refused: allow it for this page, or drop a clip",
      NotFoundError: "there is no camera: connect one, or drop a clip",
      NotReadableError: "another program has the camera: close that, or drop a clip",
    };
    throw new UserError(reasons[error.name] ?? `the camera does not start: ${error.message}`);
  }
}

/** Takes pictures no side of which is longer than `most` pixels. */
class Shrunk {
  constructor(width, height, most) {
    const scale = Math.min(1, most / Math.max(width, height));
    this.width = Math.round(width * scale);
    this.height = Math.round(height * scale);
    const canvas = new OffscreenCanvas(this.width, this.height);
    this.context = canvas.getContext("2d", { willReadFrequently: true });
  }

  frame() {
    const frame = this.context.getImageData(0, 0, this.width, this.height);
    return Object.assign(frame, { captured: performance.now() });
  }
}
