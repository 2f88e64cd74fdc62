// A step of `mtujax export` on a video, frame by frame, as examples/run_onnx.py does.
//
// Frames are { width, height, data } with data in RGBA, as ImageData is.

/** What the user can mend; the message says how. */
export class UserError extends Error {}

export class Step {
  /**
   * Opens a .onnx file.
   *
   * @param {Uint8Array} bytes the file
   * @param {object} ort onnxruntime-web
   * @param {"webgpu" | "wasm"} provider what computes
   */
  static async open(bytes, ort, provider) {
    const step = new Step();
    try {
      const about = metadata(bytes);
      step.before = count(about, "lookback");
      step.after = count(about, "lookahead");
      step.multiple = count(about, "multiple");
      step.least = count(about, "least");
    } catch (error) {
      throw new UserError(`no step of \`mtujax export\` (${error.message})`);
    }
    try {
      const options = { executionProviders: [provider], logSeverityLevel: 3 };
      // The state stays where it is computed.
      if (provider === "webgpu") options.preferredOutputLocation = "gpu-buffer";
      // A copy, as the library may move it to a thread of its own.
      step.session = await ort.InferenceSession.create(bytes.slice(), options);
    } catch (error) {
      const reason = String(error.message ?? error).split("\n")[0];
      throw new UserError(`damaged, or more than ${provider} takes here (${reason})`);
    }
    step.Tensor = ort.Tensor;
    step.outputs = step.session.outputNames.filter((name) => name !== "displacement");
    return step;
  }

  /**
   * Restores the frames of one shot, each `after` frames late.
   *
   * @param {AsyncIterable<ImageData>} frames
   * @yields {{ blurry: ImageData, restored: ImageData }}
   */
  async *deblur(frames) {
    const window = [];
    let state = null;
    for await (const frame of this.#withEnds(frames)) {
      window.push({ frame, rgb: this.padded(frame) });
      if (window.length <= this.before + this.after) continue;
      state ??= this.#firstState(frame);
      const blurry = window[this.before].frame;
      const { width, height } = this.#paddedSize(blurry);
      const dims = [window.length, height, width, 3];
      const all = new Uint8Array(dims.reduce((a, b) => a * b));
      window.forEach(({ rgb }, n) => all.set(rgb, n * rgb.length));
      const inputs = { window: new this.Tensor("uint8", all, dims), ...state };
      const found = await this.session.run(inputs, this.outputs);
      const rgb = await found.restored.getData(true);
      for (const name in state) {
        state[name].dispose();
        state[name] = found[name.replace("state_", "next_")];
      }
      window.shift();
      yield { blurry, restored: cut(rgb, width, blurry) };
    }
    for (const name in state) state[name].dispose();
  }

  /** Frees what the network takes. */
  close() {
    return this.session.release();
  }

  /** Frames with the first and the last one repeated, as the window asks. */
  async *#withEnds(frames) {
    let last = null;
    for await (const frame of frames) {
      for (let n = 0; !last && n < this.before; n++) yield frame;
      last = frame;
      yield frame;
    }
    for (let n = 0; last && n < this.after; n++) yield last;
  }

  #paddedSize({ width, height }) {
    const up = (n) => Math.max(Math.ceil(n / this.multiple) * this.multiple, this.least);
    return { width: up(width), height: up(height) };
  }

  /** RGB of a frame that is extended below and to the right by reflection. */
  padded(frame) {
    const { width, height } = this.#paddedSize(frame);
    const columns = reflected(frame.width, width);
    const rgb = new Uint8Array(height * width * 3);
    let at = 0;
    for (const row of reflected(frame.height, height)) {
      for (const column of columns) {
        const pixel = 4 * (row * frame.width + column);
        rgb[at++] = frame.data[pixel];
        rgb[at++] = frame.data[pixel + 1];
        rgb[at++] = frame.data[pixel + 2];
      }
    }
    return rgb;
  }

  /** What stands before the first frame of a video. */
  #firstState(frame) {
    const { width, height } = this.#paddedSize(frame);
    const [window, ...states] = this.session.inputMetadata;
    const [, rows, columns] = window.shape;
    if (typeof rows === "number" && (rows !== height || columns !== width)) {
      throw new UserError(
        `the step takes frames of ${columns}x${rows}, and these are ` +
          `${frame.width}x${frame.height}; export the step without --size`,
      );
    }
    const sizes = {};
    for (const [name, size] of [["h", height], ["w", width]]) {
      const cells = size / this.multiple; // of the motion grid
      sizes[name] = cells;
      for (const k of [4, this.multiple]) sizes[`${k}*${name}`] = k * cells;
    }
    return Object.fromEntries(
      states.map(({ name, type, shape }) => {
        const dims = shape.map((n) => sizes[n] ?? n);
        const data = new KINDS[type](dims.reduce((a, b) => a * b));
        data.fill(name === "state_is_first");
        return [name, new this.Tensor(type, data, dims)];
      }),
    );
  }
}

const KINDS = {
  float32: Float32Array,
  float16: globalThis.Float16Array ?? Uint16Array,
  bool: Uint8Array,
};

/** Which of n pixels stand in each of `wanted` places, as np.pad(mode="reflect"). */
function reflected(n, wanted) {
  const period = Math.max(2 * (n - 1), 1);
  return Array.from({ length: wanted }, (_, place) => {
    const there = place % period;
    return there < n ? there : period - there;
  });
}

/** The part of an RGB picture that a frame covers. */
function cut(rgb, columns, { width, height }) {
  const found = new ImageData(width, height);
  let at = 0;
  for (let row = 0; row < height; row++) {
    let pixel = 3 * row * columns;
    for (let column = 0; column < width; column++) {
      found.data[at++] = rgb[pixel++];
      found.data[at++] = rgb[pixel++];
      found.data[at++] = rgb[pixel++];
      found.data[at++] = 255;
    }
  }
  return found;
}

function count(about, name) {
  if (!/^\d+$/.test(about[name])) throw new Error(`says nothing of its ${name}`);
  return Number(about[name]);
}

/** What a .onnx file says of itself, which onnxruntime-web does not hand on. */
export function metadata(bytes) {
  const text = new TextDecoder();
  const about = {};
  for (const [number, entry] of fields(bytes)) {
    if (number !== 14) continue; // ModelProto.metadata_props
    const { 1: key, 2: value } = Object.fromEntries(fields(entry));
    about[text.decode(key)] = text.decode(value);
  }
  return about;
}

/** The number and the bytes of each field with a length, of a protocol buffer. */
function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++];
      if (byte === undefined) throw new Error("ends too early");
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const kind = tag % 8;
    if (kind === 2) {
      const length = varint();
      yield [Math.floor(tag / 8), bytes.subarray(at, at + length)];
      at += length;
    } else if (kind === 0) varint();
    else if (kind === 1 || kind === 5) at += kind === 1 ? 8 : 4;
    else throw new Error("is no .onnx file");
  }
  if (at > bytes.length) throw new Error("ends too early");
}
