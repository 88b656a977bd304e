"""Find the layers of a net that draw random numbers in their forward pass, from Caffe's main generator."""

from __future__ import annotations

from harness.caffe_files.messages import pb
from harness.caffe_files.net import phase_of


def drawing_layers(net: pb.NetParameter, phase: str) -> list[int]:
    """List the positions of the layers of a net, filtered for its phase, that draw in their forward pass.

    Dropout (dropout_layer.cpp) and stochastic pooling (pooling_layer.cu; not on the CPU) do so in TRAIN. So do, in
    every phase, DummyData with a filler that is not constant (dummy_data_layer.cpp), and SPP with stochastic pooling,
    whose layers inside are in no phase, which is TRAIN (spp_layer.cpp).
    """
    return [position for position, layer in enumerate(net.layer) if _draws(layer, phase_of(layer, phase))]


def _draws(layer: pb.LayerParameter, phase: str) -> bool:
    if layer.type == "DummyData":
        return any(filler.type != "constant" for filler in layer.dummy_data_param.data_filler)
    if layer.type == "SPP":
        return layer.spp_param.pool == pb.SPPParameter.STOCHASTIC
    stochastic = layer.type == "Pooling" and layer.pooling_param.pool == pb.PoolingParameter.STOCHASTIC
    return phase == "TRAIN" and (layer.type == "Dropout" or stochastic)


def may_change_size(layer: pb.LayerParameter) -> bool:
    """Check whether a data layer may reshape its top from batch to batch: it then reads one image at a time.

    (DataLayer::load_batch and ImageDataLayer::load_batch; with more, all images of a batch must have one size.)
    """
    if layer.type == "Data":
        return layer.data_param.batch_size == 1 and not layer.transform_param.crop_size
    images = layer.image_data_param
    alone = layer.type == "ImageData" and images.batch_size == 1
    return alone and not layer.transform_param.crop_size and not (images.new_height and images.new_width)
