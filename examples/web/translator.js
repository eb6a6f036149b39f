// A decoder-only translator, greedy: the prompt of translation.json, a cache of keys and values, stop texts.
import { Tokenizer } from "./node_modules/@huggingface/tokenizers/dist/tokenizers.mjs";
import { json, open, ort } from "./artefact.js";

const PAST = "past_key_values.";
export const list = (value) => (value === undefined || value === null ? [] : [value].flat());

export async function openTranslator(directory) {
  const session = await open(directory);
  const [prompt, config, own, pieces, settings] = await Promise.all([
    json(directory, "translation.json"),
    json(directory, "config.json"),
    json(directory, "generation_config.json", {}),
    json(directory, "tokenizer.json"),
    json(directory, "tokenizer_config.json", {}),
  ]);
  const tokenizer = new Tokenizer(pieces, settings);
  const given = { ...config, ...own };
  const special = new Map(pieces.added_tokens.filter((one) => one.special).map((one) => [one.content, one.id]));
  const stops = prompt.stop.filter((stop) => special.has(stop)).map((stop) => special.get(stop));
  const ends = new Set([...list(given.eos_token_id), ...stops]);
  const banned = list(given.suppress_tokens).concat((given.bad_words_ids ?? []).filter((one) => one.length === 1).flat());

  function written(tokens) {
    let text = tokenizer.decode(tokens, { skip_special_tokens: true });
    if (text.startsWith(prompt.separator)) text = text.slice(prompt.separator.length);
    const places = prompt.stop.map((stop) => text.indexOf(stop)).filter((place) => place >= 0);
    return { text: places.length ? text.slice(0, Math.min(...places)) : text, stopped: places.length > 0 };
  }

  return {
    async translate(text, source, target, limit = 256) {
      if (!text.trim()) return { text: "", tokens: [], runs: 0, milliseconds: 0 };
      let ids = tokenizer.encode(rendered(prompt, text, source, target), { add_special_tokens: false }).ids;
      if (prompt.add_bos && given.bos_token_id != null) ids = [list(given.bos_token_id)[0], ...ids];
      const tokens = [];
      let cache = empty(session);
      let past = 0;
      let runs = 0;
      const start = performance.now();
      while (tokens.length < limit) {
        const results = await session.run(feeds(session, ids, past, cache));
        past += ids.length;
        runs += 1;
        cache = Object.fromEntries(Object.keys(cache).map((name) => [name, results[name.replace(PAST, "present.")]]));
        const token = likeliest(results.logits, banned.filter((one) => !ends.has(one)));
        if (ends.has(token)) break;
        tokens.push(token);
        if (written(tokens).stopped) break;
        ids = [token];
      }
      return { text: written(tokens).text.trim(), tokens, runs, milliseconds: performance.now() - start };
    },
  };
}

export function rendered(prompt, text, source, target) {
  const names = {};
  for (const [key, code] of [["source_language", source], ["target_language", target]]) {
    if (!(code in prompt.languages)) throw new Error(`unknown language '${code}'`);
    names[key] = prompt.languages[code];
  }
  const filled = (template, values) => template.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
  const pair = `${source}-${target}`;
  if (prompt.template.includes("{examples}") && !prompt.shots[pair]) throw new Error(`unknown language pair '${pair}'`);
  const examples = (prompt.shots[pair] ?? [])
    .map(([one, other]) => filled(prompt.example, { ...names, source: one, target: other }))
    .join("");
  return filled(prompt.template, { ...names, source: text, examples });
}

function empty(session) {
  const past = session.inputMetadata.filter((given) => given.name.startsWith(PAST));
  return Object.fromEntries(
    past.map(({ name, type, shape }) => [
      name,
      new ort.Tensor(type, type === "float16" ? new Uint16Array() : new Float32Array(), [1, shape[1], 0, shape[3]]),
    ]),
  );
}

function feeds(session, ids, past, cache) {
  const row = (values) => new ort.Tensor("int64", BigInt64Array.from(values, BigInt), [1, values.length]);
  const all = {
    input_ids: row(ids),
    attention_mask: row(Array(past + ids.length).fill(1)),
    position_ids: row(ids.map((_, place) => past + place)),
    ...cache,
  };
  return Object.fromEntries(Object.entries(all).filter(([name]) => session.inputNames.includes(name)));
}

export function likeliest(logits, banned) {
  const last = logits.data.slice(-logits.dims.at(-1));
  for (const token of banned) last[token] = -Infinity;
  let best = 0;
  for (let token = 1; token < last.length; token++) if (last[token] > last[best]) best = token;
  return best;
}
