"""The classes of ImageNet-1k."""

from __future__ import annotations

from compress.data.imagenet import imagenet_labels, imagenet_wordnet_ids


def test_there_are_a_thousand_distinct_classes_sorted_by_wordnet_id() -> None:
    assert len(set(imagenet_labels())) == len(set(imagenet_wordnet_ids())) == 1000
    assert list(imagenet_wordnet_ids()) == sorted(imagenet_wordnet_ids())


def test_known_classes_stand_at_their_index() -> None:
    labels = imagenet_labels()
    known = {0: "tench", 207: "golden retriever", 281: "tabby", 134: "crane (bird)", 517: "crane (machine)"}
    assert {index: labels[index] for index in known} == known
    assert labels[999] == "toilet tissue"
    assert imagenet_wordnet_ids()[207] == "n02099601"
