import { manifest } from "./artefact.js";
import { openClassifier } from "./classifier.js";
import { openEncoderDecoder } from "./encoder_decoder.js";
import { openTranslator } from "./translator.js";

const form = document.querySelector("form");
const say = (id, text) => (document.getElementById(id).textContent = text);

// What an artefact is, its files tell.
async function answered({ artefact, image, source, target, text, limit }) {
  const { files } = await manifest(artefact.value);
  if (files["preprocessor_config.json"]) {
    if (!image.files.length) throw new Error("a classifier wants an image: choose one");
    return (await openClassifier(artefact.value)).classify(image.files[0]);
  }
  const opened = await (files["encoder_model.onnx"] ? openEncoderDecoder : openTranslator)(artefact.value);
  return opened.translate(text.value, source.value, target.value, Number(limit.value));
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  say("answer", "…");
  say("time", "");
  try {
    const found = await answered(form.elements);
    say("answer", found.text);
    say("time", `${(found.milliseconds / Math.max(1, found.runs)).toFixed(1)} ms a run of the model`);
  } catch (error) {
    say("answer", `error: ${error.message}`);
  }
});
