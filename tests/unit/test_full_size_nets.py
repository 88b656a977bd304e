"""The nets and solvers of the case at full size; their values are compared with the question."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from google.protobuf import text_format

from harness.caffe_files.messages import pb
from tests.helpers.full_size import GOOGLENET, QUESTION, RENAMED, VGG16, message, net_of, trained


def test_vgg16_is_configuration_d_with_the_public_names() -> None:
    net = net_of(VGG16)
    widths = {1: (64, 64), 2: (128, 128), 3: (256,) * 3, 4: (512,) * 3, 5: (512,) * 3}  # table 1 of arXiv:1409.1556
    convolutions = {f"conv{s}_{n}": width for s, row in widths.items() for n, width in enumerate(row, 1)}
    layers = trained(net)
    assert list(layers) == [*convolutions, "fc6", "fc7", "fc8_280"]
    size, channels = 0, 3
    for name, width in convolutions.items():
        param = layers[name].convolution_param
        assert (param.num_output, list(param.kernel_size), list(param.pad), list(param.stride)) == (width, [3], [1], [])
        size += (channels * 9 + 1) * width
        channels = width
    inputs = 512 * 7 * 7  # five poolings halve 224 to 7
    for name, outputs in (("fc6", 4096), ("fc7", 4096), ("fc8_280", 280)):
        assert layers[name].inner_product_param.num_output == outputs
        size += (inputs + 1) * outputs
        inputs = outputs
    assert size + (1000 - 280) * 4097 == 138_357_544  # the public net's, with 1000 outputs
    pools = [layer.pooling_param for layer in net.layer if layer.type == "Pooling"]
    assert [(p.pool, p.kernel_size, p.stride) for p in pools] == [(pb.PoolingParameter.MAX, 2, 2)] * 5
    dropouts = [(layer.bottom[0], layer.dropout_param.dropout_ratio) for layer in net.layer if layer.type == "Dropout"]
    assert dropouts == [("fc6", 0.5), ("fc7", 0.5)]
    rectified = [layer.bottom[0] for layer in net.layer if layer.type == "ReLU"]
    assert rectified == [*convolutions, "fc6", "fc7"]


def test_the_nets_match_the_question() -> None:
    classes = int(re.findall(r"我有 (\d+) 个类别", QUESTION)[0])
    batch, test_batch = map(int, re.findall(r"使用 (\d+) 的批大小,以及 (\d+) 的测试批", QUESTION)[0])
    google, vgg = net_of(GOOGLENET), net_of(VGG16)
    for net, new in ((google, RENAMED), (vgg, ["fc8_280"])):
        for layer, size, mirror in zip(net.layer[:2], (batch, test_batch), (True, False), strict=True):
            assert layer.data_param.batch_size == size
            assert (layer.transform_param.crop_size, layer.transform_param.mirror) == (224, mirror)
        for name, layer in trained(net).items():
            rates = (10, 20) if name in new else (1, 2)
            assert [(p.lr_mult, p.decay_mult) for p in layer.param] == list(zip(rates, (1, 0), strict=True)), name
        assert {trained(net)[name].inner_product_param.num_output for name in new} == {classes}
    assert [layer.data_param.source for layer in google.layer[:2]] == [
        layer.data_param.source for layer in vgg.layer[:2]
    ]
    assert list(google.layer[0].transform_param.mean_value) == [104, 117, 123]
    assert list(vgg.layer[0].transform_param.mean_value) == pytest.approx([103.939, 116.779, 123.68])

    shown = re.findall(r"(loss\d/\w+) = [\d.]+ \(\* ([\d.]+) =", QUESTION)
    losses = [layer for layer in google.layer if layer.type == "SoftmaxWithLoss"]
    weights = {layer.top[0]: layer.loss_weight[0] for layer in losses}
    assert weights == pytest.approx({name: float(weight) for name, weight in shown})
    tested = re.findall(r"Test net output #\d+: (\S+) =", QUESTION)
    assert tested == sorted(layer.top[0] for layer in google.layer if layer.type in ("SoftmaxWithLoss", "Accuracy"))


def test_the_solver_of_googlenet_is_that_of_the_question() -> None:
    lines = re.findall(r"^[a-z_]+: .*$", QUESTION, re.MULTILINE)
    asked = text_format.Parse("\n".join(lines), pb.SolverParameter())
    assert len(lines) == 12
    ours = message(GOOGLENET / "quick_solver.prototxt", pb.SolverParameter)
    assert ours.net == "prototxt/googlenet280/train_val.prototxt"
    assert Path(ours.snapshot_prefix).parent == Path("prototxt/googlenet280")
    for field in ("net", "snapshot_prefix"):
        ours.ClearField(field)
    assert ours == asked


def test_the_solver_of_googlenet_gives_the_learning_rates_of_the_log() -> None:
    solver = message(GOOGLENET / "quick_solver.prototxt", pb.SolverParameter)
    shown = re.findall(r"Iteration (\d+), lr = ([\d.]+)", QUESTION)
    assert len(shown) == 4
    for iteration, rate in shown:
        assert f"{solver.base_lr * (1 - int(iteration) / solver.max_iter) ** solver.power:.6g}" == rate


def test_the_schedule_of_vgg16_is_that_of_the_question() -> None:
    solver = message(VGG16 / "solver.prototxt", pb.SolverParameter)
    last, step = (1000 * int(k) for k in re.findall(r"最大 (\d+)k 次迭代,每步 (\d+)k 次迭代", QUESTION)[0])
    assert (solver.lr_policy, solver.max_iter, solver.stepsize) == ("step", last, step)
    assert solver.net == "prototxt/vgg16_280/train_val.prototxt"


def test_other_fields_of_the_solver_of_vgg16_are_from_the_paper_or_the_question() -> None:
    """The fields are those of the table in prototxt/vgg16_280/README.md."""
    ours = message(VGG16 / "solver.prototxt", pb.SolverParameter)
    wanted = message(GOOGLENET / "quick_solver.prototxt", pb.SolverParameter)  # base_lr, momentum, tests, display, …
    wanted.ClearField("power")
    wanted.MergeFrom(
        pb.SolverParameter(
            net="prototxt/vgg16_280/train_val.prototxt",
            snapshot_prefix="prototxt/vgg16_280/vgg16_280",
            lr_policy="step",
            stepsize=20000,
            max_iter=80000,
            gamma=0.1,
            momentum=0.9,
            weight_decay=0.0005,
        )
    )
    assert ours == wanted
    assert (ours.base_lr, ours.test_iter, ours.test_interval) == (pytest.approx(0.001), [1000], 4000)
    table = (VGG16 / "README.md").read_text()
    for field in ("gamma: 0.1", "momentum: 0.9", "weight_decay: 0.0005", "base_lr: 0.001"):
        assert f"`{field}`" in table
        assert f"{field}\n" in (VGG16 / "solver.prototxt").read_text()


def test_the_data_and_learning_rates_of_vgg16() -> None:
    net = net_of(VGG16)
    train, test = net.layer[:2]
    for layer, phase, split in ((train, pb.TRAIN, "train"), (test, pb.TEST, "test")):
        assert (layer.type, list(layer.top)) == ("Data", ["data", "label"])
        assert list(layer.include) == [pb.NetStateRule(phase=phase)]
        assert layer.data_param == pb.DataParameter(
            source=f"prototxt/googlenet280/data/{split}_lmdb", batch_size=32, backend=pb.DataParameter.LMDB
        )
        assert layer.transform_param == pb.TransformationParameter(
            mirror=phase == pb.TRAIN, crop_size=224, mean_value=[103.939, 116.779, 123.68]
        )
    for name, layer in trained(net).items():
        param = layer.convolution_param if layer.type == "Convolution" else layer.inner_product_param
        assert param.weight_filler == pb.FillerParameter(type="xavier"), name
        assert param.bias_filler == pb.FillerParameter(type="constant", value=0), name
        rates = (10, 20) if name == "fc8_280" else (1, 2)
        assert [(p.lr_mult, p.decay_mult) for p in layer.param] == list(zip(rates, (1, 0), strict=True)), name
    ends = [layer for layer in net.layer if "label" in layer.bottom]
    assert [(layer.name, layer.type, list(layer.bottom)) for layer in ends] == [
        ("loss", "SoftmaxWithLoss", ["fc8_280", "label"]),
        ("top-1", "Accuracy", ["fc8_280", "label"]),
        ("top-5", "Accuracy", ["fc8_280", "label"]),
    ]
    loss, *accuracies = ends
    assert not loss.loss_weight  # 1
    assert not loss.include  # in training and tests
    assert loss.loss_param == pb.LossParameter()
    assert [layer.accuracy_param.top_k for layer in accuracies] == [1, 5]
    assert all(list(layer.include) == [pb.NetStateRule(phase=pb.TEST)] for layer in accuracies)
    kinds = {"Data", "Convolution", "ReLU", "Pooling", "InnerProduct", "Dropout", "SoftmaxWithLoss", "Accuracy"}
    assert {layer.type for layer in net.layer} == kinds
