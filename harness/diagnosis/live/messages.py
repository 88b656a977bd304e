"""What an alarm says, and what it means."""

from __future__ import annotations

from harness.diagnosis.live.heads import SATURATED
from harness.diagnosis.live.rows import Names
from harness.schemas.layout import Alarm

MEANING = {
    "loss_jump": "A bad batch alone passes in one iteration. This stays: an update before it has damaged the weights.",
    "loss_spike": "A batch that does not fit (bad records?), or an update that was almost too large.",
    "uniform_collapse": "The head gives every class the same probability: its output no longer depends on the image.",
    "saturated_softmax": "The scores have exploded: one class is certain for every image, the others impossible.",
    "non_finite": "Nothing sound comes after it: from here on Caffe spreads it to every weight.",
    "gradient_explosion": "The updates grow with it; a smaller learning rate or clip_gradients bounds them.",
    "vanishing_gradient": "The blob no longer learns: what lies behind it is saturated, dead, or cut off.",
    "dead_relu": "No gradient comes back through it, so what lies before it no longer learns from what lies behind.",
    "weight_update_ratio": "Such a step leaves little of what the blob had learned: the learning rate is too high.",
    "loss_not_decreasing": "The net has learned nothing: look at the labels, the learning rate, the initial weights.",
    "lr_jump": "The schedule itself did that; Caffe's momentum goes on at the old scale.",
}


def sentence(alarm: Alarm, names: Names) -> str:
    """What the rule saw, with its numbers."""
    value, limit, subject = f"{alarm.value:.4g}", f"{alarm.limit:.4g}", alarm.subject
    known = names.chance_loss
    worth = f" (a net that knows nothing has {known:.4g})" if known is not None else ""
    match alarm.rule:
        case "loss_jump":
            return f"the loss stays at {value} or more, above {limit}{worth}"
        case "loss_spike":
            return f"the loss went up to {value}, above {limit}, and came back{worth}"
        case "uniform_collapse":
            return f"the loss of {subject} is {value}: {_uniform(subject, names)}"
        case "saturated_softmax":
            return f"the loss of {subject} is {value}; {SATURATED:.6g} is the most that Caffe counts for an image"
        case "non_finite":
            many = f" ({alarm.value:,.0f} elements)" if subject.startswith(("gradient ", "activation ")) else ""
            return f"{subject} is not finite{many}"
        case "gradient_explosion":
            return f"the gradient of {subject} is {value} long; the limit, from its own past, is {limit}"
        case "vanishing_gradient":
            return f"the gradient of {subject} is {value} long; the limit, from its own past, is {limit}"
        case "dead_relu":
            return f"{alarm.value:.1%} of what the ReLU at {subject} gave for a whole batch is 0"
        case "weight_update_ratio":
            return f"the update of {subject} is {value} times as long as its weights (limit {limit})"
        case "loss_not_decreasing":
            return f"the loss was never lower than {value}{worth}"
        case "lr_jump":
            return f"the learning rate went up to {value} in one iteration (limit {limit})"
    return f"{subject}: {value} (limit {limit})"


def _uniform(subject: str, names: Names) -> str:
    heads = [head for head in names.heads if head.classes]
    classes = next((head.classes for head in heads if head.name == subject), None)
    text = f"ln {classes}, as if all {classes} classes were equally probable"
    if names.chance_loss is None or len(heads) < 2:
        return text
    parts = " + ".join(f"{head.weight:g} · ln {head.classes}" for head in heads)
    return f"{text}; when all heads do, the total is {parts} = {names.chance_loss:.4g}"
