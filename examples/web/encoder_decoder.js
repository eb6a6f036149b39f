// A translator of an encoder and a decoder, greedy: OPUS-MT, whose target language is a token in front of the text, or goes without saying.
import { Tokenizer } from "./node_modules/@huggingface/tokenizers/dist/tokenizers.mjs";
import { json, manifest, open, ort } from "./artefact.js";
import { likeliest, list, rendered } from "./translator.js";

const PAST = "past_key_values.";

export async function openEncoderDecoder(directory) {
  const { files } = await manifest(directory);
  const [encoder, decoder] = [await open(directory, "encoder_model.onnx"), await open(directory, "decoder_model_merged.onnx")];
  const [prompt, config, own, settings] = await Promise.all([
    json(directory, "translation.json"),
    json(directory, "config.json"),
    json(directory, "generation_config.json", {}),
    json(directory, "tokenizer_config.json", {}),
  ]);
  const named = prompt.source_tokens ?? {};
  const marian = Object.values(named).flat().every((token) => token.startsWith(">>"));
  if (!marian || Object.keys(prompt.target_tokens ?? {}).length)
    throw new Error(`${directory} names languages in other ways than Marian, which this page does not write`);
  const read = async (name) => new Tokenizer(await json(directory, name), settings);
  const reading = await read("tokenizer.json");
  const writing = files["target_tokenizer.json"] ? await read("target_tokenizer.json") : reading;
  const given = { ...config, ...own };
  const ends = list(given.eos_token_id);
  const banned = list(given.suppress_tokens).concat((given.bad_words_ids ?? []).filter((one) => one.length === 1).flat());

  // An end token follows where the tokenizer itself adds nothing.
  function encoded(text, target) {
    const bare = reading.encode(text, { add_special_tokens: false }).ids;
    const whole = reading.encode(text).ids;
    const ids = whole.length > bare.length ? whole : [...bare, ends[0]];
    if (!Object.keys(named).length) return ids;
    if (!named[target]) throw new Error(`unknown language '${target}'`);
    return [...named[target].map((token) => reading.token_to_id(token)), ...bare, ...ids.slice(ids.lastIndexOf(bare.at(-1)) + 1)];
  }

  return {
    async translate(text, source, target, limit = 256) {
      if (!text.trim()) return { text: "", tokens: [], runs: 0, milliseconds: 0 };
      const ids = encoded(rendered(prompt, text, source, target), target);
      const start = performance.now();
      const mask = row(Array(ids.length).fill(1));
      const { last_hidden_state } = await encoder.run(known(encoder, { input_ids: row(ids), attention_mask: mask }));
      let cache = unread(decoder);
      let next = [given.decoder_start_token_id, ...list(given.forced_bos_token_id)];
      const tokens = [];
      let runs = 1;
      while (tokens.length < limit) {
        const feeds = { encoder_hidden_states: last_hidden_state, encoder_attention_mask: mask, input_ids: row(next), ...cache };
        feeds.use_cache_branch = new ort.Tensor("bool", [runs > 1], [1]);
        const results = await decoder.run(known(decoder, feeds));
        const first = runs === 1;
        runs += 1;
        for (const name of Object.keys(cache))
          if (first || name.includes(".decoder.")) cache[name] = results[name.replace(PAST, "present.")];
        if (given.forced_eos_token_id != null && tokens.length + 1 === limit) break;
        const token = likeliest(results.logits, banned);
        if (ends.includes(token)) break;
        tokens.push(token);
        next = [token];
      }
      const answer = writing.decode(tokens, { skip_special_tokens: true }).trim();
      return { text: answer, tokens, runs, milliseconds: performance.now() - start };
    },
  };
}

const row = (values) => new ort.Tensor("int64", BigInt64Array.from(values, BigInt), [1, values.length]);
const known = (session, feeds) =>
  Object.fromEntries(Object.entries(feeds).filter(([name]) => session.inputNames.includes(name)));

// One column that nobody reads, before the first run.
function unread(session) {
  const past = session.inputMetadata.filter((one) => one.name.startsWith(PAST));
  return Object.fromEntries(
    past.map(({ name, type, shape }) => {
      const values = new (type === "float16" ? Uint16Array : Float32Array)(shape[1] * shape[3]);
      return [name, new ort.Tensor(type, values, [1, shape[1], 1, shape[3]])];
    }),
  );
}
