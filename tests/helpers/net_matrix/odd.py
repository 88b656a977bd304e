"""Nets and solvers with names and numbers that Caffe accepts."""

from __future__ import annotations

from tests.helpers.net_matrix.parts import VECTORS, MatrixNet, constant, dense, dummy, layer, softmax

_CLASSIFIER = VECTORS + dense("data", "ip") + softmax("ip")


def _chains(chains: dict[str, tuple[str, ...]]) -> str:
    """Chains of InnerProduct layers of these names, each up to a loss with the name of its key."""
    text, number = VECTORS, 0
    for loss, layers in chains.items():
        blob = "data"
        for name in layers:
            text += dense(blob, f"blob{number}", name=name)
            blob, number = f"blob{number}", number + 1
        text += layer("SoftmaxWithLoss", f"{blob} label", loss)
    return text


NETS = {
    "layers without a name": MatrixNet(_chains({"loss": ("", "", "")})),
    "layers of one name": MatrixNet(_chains({"loss": ("ip", "ip", "ip#2", "ip")})),
    "layers of one name and other shapes": MatrixNet(
        VECTORS
        + dense("data", "a", 7, name="ip")
        + layer("Dropout", "a", "b", name="ip")
        + layer("Scale", "b", "c", "scale_param { bias_term: true }", name="ip")
        + layer("Dropout", "c", "d", name="ip")
        + dense("d", "e", name="ip")
        + softmax("e")
    ),
    "names that are paths, names of folders, names in another alphabet": MatrixNet(
        _chains(
            {
                "a/loss": ("a", "a/0", "a/0/0", "/a", "a/", "//"),
                "..": (".", "..", "./a", "%2F", "a b", "[/x] {}"),
                "ü": ("café", "слой", "层"),
            }
        )
    ),
    "names in Latin-1": MatrixNet(_chains({"ü": ("café", "café2")}), encoding="latin-1"),
    "names with escapes": MatrixNet(_chains({r"\xfc": (r"caf\351", r"a\"b", r"\303\251", r"c\\351")})),
    "negative intervals": MatrixNet(
        _CLASSIFIER, {"display": -3, "snapshot": -4, "test_interval": -5, "average_loss": 100, "gamma": -1}
    ),
    "display 0, a seed of more than 32 bits": MatrixNet(
        _CLASSIFIER, {"display": 0, "test_interval": 0, "random_seed": (1 << 40) + (1 << 32) - 2}
    ),
    "display -1": MatrixNet(_CLASSIFIER, {"display": -1, "test_iter": 0, "test_interval": 5}),
    "level and stage": MatrixNet(
        VECTORS
        + "state { level: 9 stage: 'c' }\n"
        + dense("data", "ip", rest="include { min_level: 2 max_level: 2 stage: 'a' stage: 'c' }")
        + dense("data", "ip", 7, rest="include { min_level: 3 }", name="other")
        + dense("data", "ip", 8, rest="include { not_stage: 'b' phase: TRAIN }", name="another")
        + softmax("ip"),
        {"train_state": "{ level: 5 stage: 's' }"},
        ("--level=2", "--stage=a,b"),
    ),
    "a level that caffe train ignores": MatrixNet(
        VECTORS
        + dense("data", "ip", rest="exclude { min_level: 1 }")
        + dense("data", "ip", 7, rest="include { min_level: 1 }", name="other")
        + softmax("ip"),
        {"train_state": "{ level: 5 }"},
    ),
    "a net that the solver holds": MatrixNet(
        "",
        {
            "net": None,
            "train_net_param": "{ "
            + dummy("data", "4 6").replace("\n", " ")
            + constant("label", "4", 1).replace("\n", " ")
            + dense("data", "ip").replace("\n", " ")
            + softmax("ip").replace("\n", " ")
            + "}",
        },
    ),
}
