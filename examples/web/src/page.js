// The page: what is dropped, chosen and pressed, and the frames that come of it.

import { cameraFrames, clipFrames } from "./frames.js";
import { hasGpu, load } from "./runtime.js";
import { Step, UserError } from "./step.js";

const EXPORT = "`mtujax export fast step.onnx` writes one";
const KEPT = 30; // frames that the figures look back on

const at = (id) => document.getElementById(id);
let file = null; // { name, bytes } of the step
let step = null; // once it is opened
let stop = new AbortController();
let running = Promise.resolve();

function say(text, { problem = false } = {}) {
  at("message").textContent = text;
  at("message").classList.toggle("problem", problem);
}

/** Opens the step on the chosen device, or on the CPU if the GPU does not take it. */
async function open(provider) {
  try {
    return await Step.open(file.bytes, await load(provider), provider);
  } catch (error) {
    if (provider === "webgpu") {
      const found = await open("wasm");
      at("provider").value = "wasm";
      return found;
    }
    throw error instanceof UserError ? new UserError(`${file.name}: ${error.message}`) : error;
  }
}

function take(name, bytes) {
  start(async () => {
    await step?.close();
    [file, step] = [{ name, bytes }, null];
    await opened();
    const slow = at("provider").value === "wasm" ? ", on the CPU, which is slow" : "";
    say(`${name} is ready${slow}: drop a clip, or start the camera.`);
  });
}

async function opened() {
  if (!file) throw new UserError(`There is no step yet: ${EXPORT}; drop it on this page.`);
  step ??= await open(at("provider").value);
  return step;
}

/** Ends what runs, and then does a job until it is done or `stop` is pressed. */
function start(job) {
  stop.abort();
  const { signal } = (stop = new AbortController());
  running = running.then(async () => {
    if (signal.aborted) return;
    at("stop").disabled = false;
    try {
      await job(signal);
    } catch (error) {
      const known = error instanceof UserError;
      const reason = String(error.message ?? error).split("\n")[0];
      say(known ? reason : `${reason}: reload, and choose a smaller size`, { problem: true });
    }
    at("stop").disabled = true;
  });
}

/** Restores the frames that `source` gives, and shows them. */
async function restore(name, source, signal) {
  say("Starting …");
  const network = await opened();
  const times = [];
  let [frames, started] = [0, null];
  for await (const { blurry, restored } of network.deblur(source(signal))) {
    if (signal.aborted) break;
    started ??= performance.now();
    await until(started + (blurry.time ?? 0)); // no clip runs faster than it was taken
    show(blurry, restored);
    const now = performance.now();
    times.push({ now, latency: now - blurry.captured });
    if (times.length > KEPT) times.shift();
    at("frames").textContent = ++frames;
    at("lookahead").textContent = `${network.after} frames`;
    figures(times);
    say(`Restoring ${name} …`);
  }
  say(signal.aborted ? `Stopped after ${frames} frames.` : `${name}: ${frames} frames restored.`);
}

function until(time) {
  const wait = time - performance.now();
  return wait > 0 ? new Promise((done) => setTimeout(done, wait)) : null;
}

function show(blurry, restored) {
  for (const [id, frame] of [["blurry", blurry], ["restored", restored]]) {
    const { width, height } = frame;
    const canvas = at(id);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    canvas.getContext("2d").putImageData(frame, 0, 0);
  }
  at("pixels").textContent = `${blurry.width} × ${blurry.height}`;
  at("stage").style.setProperty("--aspect", blurry.width / blurry.height);
  at("stage").hidden = at("figures").hidden = false;
}

function figures(times) {
  const seconds = (times.at(-1).now - times[0].now) / 1000;
  at("rate").textContent = seconds ? ((times.length - 1) / seconds).toFixed(1) : "–";
  const latencies = times.map(({ latency }) => latency).sort((a, b) => a - b);
  at("latency").textContent = `${Math.round(latencies[latencies.length >> 1])} ms`;
}

const most = () => Number(at("size").value);

async function openFile(chosen) {
  if (!chosen) return;
  say(`Opening ${chosen.name} …`);
  if (chosen.name.endsWith(".onnx")) {
    take(chosen.name, new Uint8Array(await chosen.arrayBuffer()));
  } else {
    start((signal) => restore(chosen.name, () => clipFrames(chosen, most()), signal));
  }
}

at("file").addEventListener("change", ({ target }) => {
  openFile(target.files[0]);
  target.value = ""; // the same file may be chosen again
});
at("camera").addEventListener("click", () => {
  start((signal) => restore("the camera", () => cameraFrames(most(), signal), signal));
});
at("stop").addEventListener("click", () => stop.abort());
at("provider").addEventListener("change", () => file && take(file.name, file.bytes));
at("split").addEventListener("input", ({ target }) => {
  at("stage").style.setProperty("--split", `${target.value}%`);
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", () => document.body.classList.remove("dropping"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  openFile(event.dataTransfer.files[0]);
});

if (await hasGpu()) {
  at("provider").options[0].disabled = false;
  at("provider").value = "webgpu";
}
const answer = await fetch("step.onnx").catch(() => null);
if (answer?.ok) take("step.onnx", new Uint8Array(await answer.arrayBuffer()));
else say(`There is no step.onnx beside this page: ${EXPORT}; drop it here.`, { problem: true });
