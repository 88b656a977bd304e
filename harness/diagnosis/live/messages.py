"""Describe alarms: what was observed, and what to look at first."""

from __future__ import annotations

from harness.diagnosis.conditions import MAX_LOSS
from harness.diagnosis.live.rows import Names
from harness.schemas.layout import Alarm

# What to look at first. An alarm says what was seen; what caused it, a replay has to show.
LOOK_AT = {
    "loss_jump": "Look at the records of the batches at the onset, and at the learning rate.",
    "loss_spike": "Look at the records of that batch and of the one before it.",
    "uniform_collapse": "Look at the input of the head: does it differ between records? Look at the ReLUs before it.",
    "saturated_softmax": "Look at the size of the scores and of the weights before them, and at the labels.",
    "non_finite": "Look at the inputs of that iteration, and at the updates of the iterations before it.",
    "input_range": "Look at the records of that batch: no batch before held values nearly as large.",
    "label_runs": "Look at the order of the records: shuffled ones are learned from evenly.",
    "label_trend": "Look at the order of the records: shuffled ones are learned from evenly.",
    "gradient_explosion": "Look at the records of that batch; clip_gradients and the learning rate limit the update.",
    "vanishing_gradient": "Look at the layers after the blob: outputs that are 0 or saturated, or lead to no loss.",
    "dead_relu": "Look at the last updates of the layer before it. No gradient passes back through an output of 0.",
    "weight_update_ratio": "Look at the learning rate, and at the lr_mult of the blob; 0.001 is a common value.",
    "loss_not_decreasing": "Look at the labels, the learning rate, and the initial weights.",
    "lr_jump": "Look at the schedule of the learning rate; Caffe's momentum is still at the old scale.",
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
            counted = subject.startswith(("input ", "gradient ", "activation "))
            elements = "1 element" if alarm.value == 1 else f"{alarm.value:,.0f} elements"
            return f"{subject} is not finite{f' ({elements})' if counted else ''}"
        case "input_range":
            return (
                f"the largest magnitude in input {subject} is {value}; the limit, from the batches before, is {limit}"
            )
        case "label_runs":
            limit = f"{alarm.limit:.0f}"
            return (
                f"all labels in {subject} are the same in {value} iterations in a row (in random order: below {limit})"
            )
        case "label_trend":
            share = f"{alarm.value:.0%} of what they would in random order (limit {alarm.limit:.0%})"
            return f"the labels in {subject} come in order: from batch to batch they move by {share}"
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
