"""Describe alarms, and explain what they mean."""

from __future__ import annotations

from harness.diagnosis.conditions import MAX_LOSS
from harness.diagnosis.live.rows import Names
from harness.schemas.layout import Alarm

MEANING = {
    "loss_jump": "A bad batch alone lasts one iteration. This lasts: an update before it has damaged the weights.",
    "loss_spike": "The batch differs from the others (bad records?), or an update was almost too large.",
    "uniform_collapse": "The head gives every class the same probability: its output no longer depends on its input.",
    "saturated_softmax": "The scores have exploded: the net is certain of one class for every record.",
    "non_finite": "Caffe spreads it to every weight: training cannot recover.",
    "gradient_explosion": "The updates grow with it; a smaller learning rate or clip_gradients limits them.",
    "vanishing_gradient": "The blob no longer learns: a layer after it is saturated, dead, or disconnected.",
    "dead_relu": "No gradient passes back through it, so the layers before it no longer learn from those after it.",
    "weight_update_ratio": "Such a step overwrites most of what the blob had learned: the learning rate is too high.",
    "loss_not_decreasing": "The net has learned nothing: check the labels, the learning rate, the initial weights.",
    "lr_jump": "The learning rate schedule did this; Caffe's momentum is still at the old scale.",
}


def sentence(alarm: Alarm, names: Names) -> str:
    """Describe what a rule observed, with its numbers, as a clause."""
    value, limit, subject = f"{alarm.value:.4g}", f"{alarm.limit:.4g}", alarm.subject
    chance = f" (chance level: {names.chance_loss:.4g})" if names.chance_loss is not None else ""
    match alarm.rule:
        case "loss_jump":
            return f"the loss stays at {value} or more, above {limit}{chance}"
        case "loss_spike":
            return f"the loss rose to {value}, above {limit}, and recovered{chance}"
        case "uniform_collapse":
            return f"the loss of {subject} is {value}: {_uniform(subject, names)}"
        case "saturated_softmax":
            return f"the loss of {subject} is {value}; {MAX_LOSS:.6g} is the largest that Caffe counts for a record"
        case "non_finite":
            counted = subject.startswith(("gradient ", "activation "))
            return f"{subject} is not finite{f' ({alarm.value:,.0f} elements)' if counted else ''}"
        case "gradient_explosion" | "vanishing_gradient":
            return f"the gradient norm of {subject} is {value}; the limit, from its baseline, is {limit}"
        case "dead_relu":
            return f"the ReLU at {subject} gave 0 for {alarm.value:.1%} of its outputs over a whole batch"
        case "weight_update_ratio":
            return f"the update norm of {subject} is {value} times its weight norm (limit {limit})"
        case "loss_not_decreasing":
            return f"the loss was never below {value}{chance}"
        case "lr_jump":
            return f"the learning rate rose to {value} in one iteration (limit {limit})"
    return f"{subject}: {value} (limit {limit})"


def _uniform(subject: str, names: Names) -> str:
    heads = [head for head in names.heads if head.classes]
    classes = next((head.classes for head in heads if head.name == subject), None)
    text = f"ln {classes}, as if all {classes} classes were equally probable"
    if names.chance_loss is None or len(heads) < 2:
        return text
    parts = " + ".join(f"{head.weight:g} · ln {head.classes}" for head in heads)
    return f"{text}; with all heads at chance level the total is {parts} = {names.chance_loss:.4g}"
