"""torch's table of operators: made once, and nobody's own operators stay in it."""

from __future__ import annotations

from torch.onnx._internal.exporter._registration import ONNXRegistry

from compress.exporter.registry import kept_registry


def test_exports_share_the_table_and_keep_what_they_add_to_themselves() -> None:
    before = vars(ONNXRegistry)["from_torchlib"]
    with kept_registry():
        one, two = (ONNXRegistry().from_torchlib(opset_version=18) for _ in range(2))
        other = ONNXRegistry().from_torchlib(opset_version=21)
    assert vars(ONNXRegistry)["from_torchlib"] is before
    add, *others = one.functions["aten::add.Tensor"]
    assert two.functions["aten::add.Tensor"][0] is add
    assert (two.opset_version, other.opset_version) == (18, 21)
    one.functions["aten::add.Tensor"].append(add)
    one.functions["compress::own"] = [add]
    assert len(two.functions["aten::add.Tensor"]) == 1 + len(others)
    assert "compress::own" not in two.functions
