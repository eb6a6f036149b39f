"""The model card."""

from __future__ import annotations

import yaml

from compress.exporter.card import Card, model_card
from compress.tasks.base import Figure

CONTENT = {
    "lock": {"recipe": {"name": "tiny-w4"}},
    "model": {"parameters": 4_650_000},
    "target": "generic",
    "quantization": {
        "weights": {
            "a.weight": {"num_bits": 4, "group_size": 16},
            "b.weight": {"num_bits": 4, "group_size": 16},
            "c.weight": {"num_bits": 8, "group_size": None},
        },
        "activations": 3,
        "effective_bits": 4.6,
    },
}
FLOAT = {**CONTENT, "lock": {}, "quantization": {"weights": {}, "activations": 0, "effective_bits": 32.1}}


def front_matter(text: str) -> dict[str, object]:
    _, head, _ = text.split("---\n", 2)
    return dict(yaml.safe_load(head))


def test_the_front_matter_is_yaml_in_the_hub_s_words() -> None:
    assert front_matter(model_card(Card(licence="apache-2.0"), CONTENT, {})) == {
        "license": "apache-2.0",
        "library_name": "onnxruntime",
        "pipeline_tag": "image-classification",
        "tags": ["onnx", "quantized"],
    }
    found = front_matter(model_card(Card(licence="https://example.org/terms"), FLOAT, {}))
    assert (found["license"], found["license_link"]) == ("other", "https://example.org/terms")
    assert found["tags"] == ["onnx"]
    assert "license" not in front_matter(model_card(Card(), FLOAT, {}))


def test_it_says_what_was_quantized() -> None:
    text = model_card(Card("EfficientNet-Lite0 of somebody"), CONTENT, {})
    assert "# tiny-w4\n\nEfficientNet-Lite0 of somebody.\n" in text
    assert "4,650,000, 4.6 bits each" in text
    assert "2 tensors of 4 bits in groups of 16, 1 tensors of 8 bits" in text
    assert "3 tensors quantized to uint8" in text
    assert "Weights: float32\n- Activations: float32" in model_card(Card("A model"), FLOAT, {})


def test_it_says_what_zeros_give_and_that_they_give_no_speed() -> None:
    sparse = {"share": 0.4972, "model_bytes": 18_600_000, "gzip_bytes": 10_230_000}
    text = model_card(Card(), {**FLOAT, "quantization": {**FLOAT["quantization"], "sparsity": sparse}}, {})
    assert (
        "- Sparsity: 49.7 % of the weights are zero. They are stored as any other, in 18.6 MB, which a download with "
        "gzip makes 10.2 MB; the runtime's kernels are dense, and no faster for them\n"
    ) in text
    assert "Sparsity" not in model_card(Card(), CONTENT, {})


def test_random_weights_are_said_to_be_random() -> None:
    assert "weights are random" in model_card(Card(random_weights=True), CONTENT, {})
    assert "random" not in model_card(Card(), CONTENT, {})


def test_scores_are_a_table_with_their_intervals() -> None:
    scores = {"top1": Figure(0.8931, 0.862, 0.918, 472), "kl_nats": Figure(0.01234)}
    text = model_card(Card(), CONTENT, scores)
    assert "| kl_nats | 0.01234 |  |  |\n| top1 | 89.31 % | 86.20 % … 91.80 % | 472 |\n" in text
    assert "| score |" not in model_card(Card(), CONTENT, {})
