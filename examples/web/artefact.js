// The files of an artefact, and the session over its graph.
import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs";

export { ort };

export async function json(directory, name, absent) {
  const response = await fetch(`${directory}/${name}`);
  if (response.status === 404 && absent !== undefined) return absent;
  if (!response.ok) throw new Error(`${directory}/${name}: ${response.status}`);
  return response.json();
}

export async function manifest(directory) {
  return json(directory, "compress.json");
}

// Weights beside a graph are named in compress.json, and handed over under the names that the graph knows.
export async function open(directory, graph = "model.onnx") {
  const { files } = await manifest(directory);
  if (!files[graph]) throw new Error(`${directory} has no ${graph}`);
  const beside = Object.keys(files).filter((name) => name.endsWith(".onnx_data"));
  return ort.InferenceSession.create(`${directory}/${graph}`, {
    executionProviders: ["wasm"],
    externalData: beside.map((name) => ({ path: name, data: `${directory}/${name}` })),
    extra: { session: { qdq_matmulnbits_accuracy_level: "4" } },
  });
}
