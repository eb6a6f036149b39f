import { openTranslator } from "./translator.js";

const form = document.querySelector("form");
const say = (id, text) => (document.getElementById(id).textContent = text);

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { artefact, source, target, text, limit } = form.elements;
  say("answer", "…");
  say("time", "");
  try {
    const translator = await openTranslator(artefact.value);
    const found = await translator.translate(text.value, source.value, target.value, Number(limit.value));
    say("answer", found.text);
    say("time", `${(found.milliseconds / Math.max(1, found.runs)).toFixed(1)} ms a run of the model`);
  } catch (error) {
    say("answer", `error: ${error.message}`);
  }
});
