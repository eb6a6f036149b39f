// A classifier of images: the label with the highest logit.
import { json, open, ort } from "./artefact.js";
import { decoded, preprocessed } from "./preprocess.js";

export async function openClassifier(directory) {
  const session = await open(directory);
  const [config, { id2label }] = await Promise.all([
    json(directory, "preprocessor_config.json"),
    json(directory, "config.json"),
  ]);
  const { height, width } = config.crop_size;

  return {
    async classify(file) {
      const input = new ort.Tensor("float32", preprocessed(await decoded(file), config), [1, 3, height, width]);
      const start = performance.now();
      const results = await session.run({ [session.inputNames[0]]: input });
      const milliseconds = performance.now() - start;
      const logits = [...results[session.outputNames[0]].data];
      return { text: id2label[logits.indexOf(Math.max(...logits))], logits, runs: 1, milliseconds };
    },
  };
}
