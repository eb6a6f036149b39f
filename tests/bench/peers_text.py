r"""Our translators beside other runtimes: the same architecture, the same tokens, one go.

    python tests/bench/peers_text.py runs/gemma-3-270m-*/artefact --model package:gemma-3-270m --gguf FILE.gguf
    python tests/bench/peers_text.py runs/nllb-600m-*/artefact --model random:nllb-600m --ctranslate2

--model        what torch runs, in float32, as in a recipe.
--gguf         files that llama.cpp runs (`pip install xllamacpp`).
--ctranslate2  CTranslate2 in int8 on random weights of --model's shape, an encoder–decoder (`pip install ctranslate2`).
--genai        directories that onnxruntime-genai 0.18.0 runs (`pip install onnxruntime-genai`).
--openvino     directories of an IR that OpenVINO 2026.4.1 runs (`pip install openvino`).

The last two are made of what `models.translators.saved.save_translator` writes, each in an environment of its own:

    pip install onnxruntime-genai==0.11.4 onnxruntime onnx onnx-ir torch transformers==4.57.6
    python -m onnxruntime_genai.models.builder -i SAVED -o DIR -p int4 -e cpu -c CACHE \
        --extra_options int4_accuracy_level=4 int4_algo_config=rtn int4_is_symmetric=false shared_embeddings=true
    pip install optimum-intel==2.2.0 nncf==3.4.0 openvino==2026.4.1 transformers==4.57.6
    optimum-cli export openvino --model SAVED --task text-generation-with-past \
        --weight-format int4 --group-size 32 --ratio 1.0 --sym DIR

genai's builder of 0.18.0 fails on transformers' Gemma 3 (KeyError: 'rope_type'); that of 0.11.4 shares the embedding
with the head only by `rtn`, and only with zero points.  That IR keeps the embedding in 8 bits.

All read the same tokens (`--prompt` of them) and write `--tokens` more, whatever these are, in turn (A B C A B C …), in
one process, one text at a time.  Prints a Markdown table: bytes on disk; tokens read and written a second, of the
median round; and the latter as a multiple of torch's in the same round, median and quartiles.  The memory's bandwidth,
which bounds them all, is measured first.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

import numpy as np

from compress.models.source import ModelSource
from compress.models.translators import LoadedTranslator, load_translator
from compress.runtime.text import open_translator

FIRST_TOKEN = 100  # ordinary ones, in every vocabulary


@dataclass(frozen=True)
class Contender:
    """write(tokens, count) → (seconds until the first new token, seconds of the others)."""

    name: str
    size_bytes: int
    write: Callable[[Sequence[int], int], tuple[float, float]]


def ours(directory: Path, threads: int) -> Contender:
    translator = open_translator(directory, threads)

    def write(tokens: Sequence[int], count: int) -> tuple[float, float]:
        start = time.perf_counter()
        run = translator.begin(tokens)
        token = run.logits.argmax(axis=1)
        first = time.perf_counter()
        for _ in range(count - 1):
            run.advance(token.astype(np.int64))
            token = run.logits.argmax(axis=1)
        return first - start, time.perf_counter() - first

    graphs = [*directory.glob("*.onnx"), *directory.glob("*.onnx_data")]
    return Contender(directory.parent.name, sum(file.stat().st_size for file in graphs), write)


def torch_float(loaded: LoadedTranslator, threads: int) -> Contender:
    import torch

    torch.set_num_threads(threads)
    model, settings = loaded.model, loaded.model.generation_config

    @torch.inference_mode()
    def write(tokens: Sequence[int], count: int) -> tuple[float, float]:
        start = time.perf_counter()
        ids = torch.tensor([tokens])
        if loaded.family == "decoder":
            out = model(ids, use_cache=True, logits_to_keep=1)
        else:
            encoded = model.get_encoder()(ids)
            token = torch.tensor([[settings.decoder_start_token_id]])
            out = model(encoder_outputs=encoded, decoder_input_ids=token, use_cache=True)
        token = out.logits[:, -1:].argmax(-1)
        first = time.perf_counter()
        for _ in range(count - 1):
            if loaded.family == "decoder":
                out = model(token, past_key_values=out.past_key_values, use_cache=True)
            else:
                past = out.past_key_values
                out = model(encoder_outputs=encoded, decoder_input_ids=token, past_key_values=past, use_cache=True)
            token = out.logits[:, -1:].argmax(-1)
        return first - start, time.perf_counter() - first

    return Contender("torch fp32", 4 * sum(value.numel() for value in model.parameters()), write)


def llama_cpp(file: Path, threads: int) -> Contender:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.n_ctx = 1024
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.warmup = False
    params.n_parallel = 1
    server = xllamacpp.Server(params)

    def write(tokens: Sequence[int], count: int) -> tuple[float, float]:
        asked = {"prompt": list(tokens), "max_tokens": count, "temperature": 0.0, "ignore_eos": True}
        timings = server.handle_completions({**asked, "cache_prompt": False, "timings_per_token": True})["timings"]
        return timings["prompt_ms"] / 1e3, timings["predicted_ms"] / 1e3 * (count - 1) / timings["predicted_n"]

    return Contender(f"llama.cpp, {file.name}", file.stat().st_size, write)


def ctranslate2_int8(loaded: LoadedTranslator, folder: Path, threads: int) -> Contender:
    """Of random weights: only the shape is that of the model."""
    import ctranslate2
    from ctranslate2.specs import TransformerSpec, common_spec

    config = loaded.model.config
    spec = TransformerSpec.from_config(
        (config.encoder_layers, config.decoder_layers),
        config.encoder_attention_heads,
        pre_norm=True,
        activation=common_spec.Activation.RELU,
    )
    words = [f"<{number}>" for number in range(config.vocab_size)]
    _fill(spec, config)
    spec.register_source_vocabulary(words)
    spec.register_target_vocabulary(words)
    spec.config.add_source_eos = False
    spec.config.bos_token = spec.config.decoder_start_token = words[config.decoder_start_token_id]
    spec.config.eos_token, spec.config.unk_token = words[config.eos_token_id], words[3]
    spec.validate()
    spec.optimize(quantization="int8")
    spec.save(str(folder))
    translator = ctranslate2.Translator(str(folder), compute_type="int8", inter_threads=1, intra_threads=threads)

    def seconds(tokens: Sequence[int], count: int) -> float:
        start = time.perf_counter()
        given = [[words[token] for token in tokens]]
        translator.translate_batch(given, beam_size=1, min_decoding_length=count, max_decoding_length=count)
        return time.perf_counter() - start

    def write(tokens: Sequence[int], count: int) -> tuple[float, float]:
        first = seconds(tokens, 1)
        return first, seconds(tokens, count) - first

    return Contender("CTranslate2 int8", (folder / "model.bin").stat().st_size, write)


def genai(directory: Path, threads: int) -> Contender:
    import onnxruntime_genai

    config = onnxruntime_genai.Config(str(directory))
    config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}}))
    model = onnxruntime_genai.Model(config)

    def write(tokens: Sequence[int], count: int) -> tuple[float, float]:
        start = time.perf_counter()
        params = onnxruntime_genai.GeneratorParams(model)
        length = len(tokens) + count
        params.set_search_options(max_length=length, min_length=length, do_sample=False)
        generator = onnxruntime_genai.Generator(model, params)
        generator.append_tokens(list(tokens))
        generator.generate_next_token()
        first = time.perf_counter()
        for _ in range(count - 1):
            generator.generate_next_token()
        return first - start, time.perf_counter() - first

    size = sum(file.stat().st_size for pattern in ("*.onnx", "*.onnx.data") for file in directory.glob(pattern))
    return Contender(f"onnxruntime-genai, {directory.name}", size, write)


def openvino_ir(directory: Path, threads: int) -> Contender:
    """A stateful IR: the cache of keys and values lies in the request, and a run reads what is new."""
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.Core().compile_model(directory / "openvino_model.xml", "CPU", settings).create_infer_request()

    def step(tokens: Sequence[int], past: int) -> int:
        given = {"input_ids": np.array([tokens]), "position_ids": np.arange(past, past + len(tokens))[None]}
        mask = np.ones((1, past + len(tokens)), np.int64)
        request.infer({**given, "attention_mask": mask, "beam_idx": np.zeros(1, np.int32)})
        return int(request.get_tensor("logits").data[0, -1].argmax())

    def write(tokens: Sequence[int], count: int) -> tuple[float, float]:
        start = time.perf_counter()
        request.reset_state()
        token = step(tokens, 0)
        first = time.perf_counter()
        for number in range(count - 1):
            token = step([token], len(tokens) + number)
        return first - start, time.perf_counter() - first

    size = sum((directory / f"openvino_model.{end}").stat().st_size for end in ("xml", "bin"))
    return Contender(f"OpenVINO, {directory.name}", size, write)


def _fill(spec: Any, config: Any) -> None:
    """Random values of M2M100's shapes in every variable of a specification."""
    random = np.random.Generator(np.random.SFC64(0))
    width = config.d_model
    table = (random.standard_normal((config.vocab_size, width), np.float32) * np.float32(0.02),)
    inner = {"encoder": config.encoder_ffn_dim, "decoder": config.decoder_ffn_dim}
    positions = np.zeros((config.max_position_embeddings, width), np.float32)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return random.standard_normal((rows, columns), np.float32) * np.float32(0.02)

    def linear(layer: Any, rows: int, columns: int) -> None:
        layer.weight, layer.bias = matrix(rows, columns), np.zeros(rows, np.float32)

    def norm(layer: Any) -> None:
        layer.gamma, layer.beta = np.ones(width, np.float32), np.zeros(width, np.float32)

    for side in ("encoder", "decoder"):
        part = getattr(spec, side)
        part.scale_embeddings = True
        tables = part.embeddings if isinstance(part.embeddings, list) else [part.embeddings]
        for each in tables:
            each.weight = table[0]
        part.position_encodings.encodings = positions
        norm(part.layer_norm)
        for layer in part.layer:
            linear(layer.self_attention.linear[0], 3 * width, width)
            linear(layer.self_attention.linear[1], width, width)
            norm(layer.self_attention.layer_norm)
            if side == "decoder":
                linear(layer.attention.linear[0], width, width)
                linear(layer.attention.linear[1], 2 * width, width)
                linear(layer.attention.linear[2], width, width)
                norm(layer.attention.layer_norm)
            linear(layer.ffn.linear_0, inner[side], width)
            linear(layer.ffn.linear_1, width, inner[side])
            norm(layer.ffn.layer_norm)
    spec.decoder.projection.weight = table[0]


def bandwidth(threads: int) -> float:
    """Bytes a second that all threads together read from memory, each 200 MB of its own."""
    blocks = [np.ones(25_000_000) for _ in range(threads)]
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        readers = [threading.Thread(target=block.max) for block in blocks]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        best = max(best, sum(block.nbytes for block in blocks) / (time.perf_counter() - start))
    return best


def contenders(args: argparse.Namespace, folder: Path) -> Iterator[Contender]:
    loaded = load_translator(ModelSource(args.model))
    yield torch_float(loaded, args.threads)
    if args.ctranslate2:
        yield ctranslate2_int8(loaded, folder, args.threads)
    for directory in args.artefacts:
        yield ours(directory, args.threads)
    for file in args.gguf:
        yield llama_cpp(file, args.threads)
    for directory in args.genai:
        yield genai(directory, args.threads)
    for directory in args.openvino:
        yield openvino_ir(directory, args.threads)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artefacts", nargs="+", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--gguf", nargs="*", type=Path, default=[])
    parser.add_argument("--genai", nargs="*", type=Path, default=[])
    parser.add_argument("--openvino", nargs="*", type=Path, default=[])
    parser.add_argument("--ctranslate2", action="store_true")
    parser.add_argument("--prompt", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    print(f"memory: {bandwidth(args.threads) / 1e9:.1f} GB/s, {args.threads} threads\n")
    tokens = [FIRST_TOKEN + 7 * number for number in range(args.prompt)]
    with tempfile.TemporaryDirectory() as folder:
        everyone = list(contenders(args, Path(folder)))
        times: list[list[tuple[float, float]]] = [[] for _ in everyone]
        for number in range(args.rounds + 1):
            for contender, own in zip(everyone, times, strict=True):
                measured = contender.write(tokens, args.tokens)
                if number:  # the first round warms up
                    own.append(measured)
    print("| | MB | read, tokens/s | written, tokens/s | written, × torch |\n|---|--:|--:|--:|--:|")
    for contender, own in zip(everyone, times, strict=True):
        first, rest = np.median(own, axis=0)
        low, middle, high = quantiles([one[1] / other[1] for one, other in zip(times[0], own, strict=True)], n=4)
        print(
            f"| {contender.name} | {contender.size_bytes / 1e6:.1f} | {args.prompt / first:.0f} "
            f"| {(args.tokens - 1) / rest:.1f} | {middle:.2f} [{low:.2f}, {high:.2f}] |"
        )


if __name__ == "__main__":
    main()
