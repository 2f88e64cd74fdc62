// Puts the page and the libraries that it loads into dist/, ready to be served.

import { cpSync, mkdirSync, readdirSync } from "node:fs";

const ORT = "node_modules/onnxruntime-web/dist/";
const CLIPS = "node_modules/mediabunny/dist/bundles/mediabunny.min.mjs";

// Of the runtime: for the CPU, and for the GPU with what a GPU does not compute.
const needed = /^ort(-wasm-simd-threaded(\.asyncify)?\.(mjs|wasm)|\.(wasm|webgpu)\.min\.mjs)$/;

// A step.onnx that lies in dist/ stays.
mkdirSync("dist/lib", { recursive: true });
cpSync("src", "dist", { recursive: true });
cpSync(CLIPS, "dist/lib/mediabunny.mjs");
for (const name of readdirSync(ORT).filter((name) => needed.test(name))) {
  cpSync(ORT + name, "dist/lib/" + name);
}
console.log("dist/ is ready: python -m http.server --directory dist");
