// onnxruntime-web, for the GPU where there is one.

const LIBRARIES = new URL("lib/", import.meta.url).href;

/** Whether this browser gives pages a GPU. */
export async function hasGpu() {
  return Boolean(await navigator.gpu?.requestAdapter().catch(() => null));
}

/** The library for "webgpu" or "wasm". */
export async function load(provider) {
  const ort = await import(`./lib/ort.${provider}.min.mjs`);
  ort.env.wasm.wasmPaths = LIBRARIES;
  // The CPU computes beside the page, which would stand still otherwise.
  ort.env.wasm.proxy = provider === "wasm";
  return ort;
}
