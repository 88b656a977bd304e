"""Patterns, over bytes, of what Caffe prints.

They follow the stream operators in solver.cpp, sgd_solver.cpp, net.cpp and tools/caffe.cpp: text is matched literally,
a value is a group. Between `Iteration N` and `, loss =`, every fork prints something else (speed, epochs), so anything
that is not a value may stand there.
"""

from __future__ import annotations

import re

# A float as a C++ stream writes it, including NaN and infinity as older Microsoft compilers write them.
VALUE = (
    rb"[-+]?(?:1\.#(?:QNAN|SNAN|IND|INF)\d{0,9}|(?:\d{1,60}\.?\d{0,60}|\.\d{1,60})(?:[eE][-+]?\d{1,4})?"
    rb"|nan(?:\(\w{0,20}\))?|NaN|NAN|inf(?:inity)?|Inf|INF)"
)
_ENDS = rb"(?![\w.#+\-])"  # the number is complete

# glog's header: severity, date (with the year since 0.6), time, thread, file:line]. Some excerpts omit the time.
HEADER = re.compile(
    rb"(?:(?P<level>[IWEF])(?P<stamp>(?:\d{8}|\d{4}) \d\d:\d\d:\d\d(?:\.\d+)?)|(?<![\w/])(?P<bare>[IWEF]\d{4}))"
    rb"[ \t]{1,30}(?:(?P<thread>(?:0x)?[0-9a-fA-F]{1,20})[ \t]{1,30})?[^\]\[\n ][^\]\[\n]{0,250}?:\d{1,6}\]"
)
STAMP = re.compile(rb"[IWEF]((?:\d{8}|\d{4}) \d\d:\d\d:\d\d(?:\.\d+)?)")

# The beginning of every entry about a run. Patterns of whole entries follow below.
ANCHOR = re.compile(
    rb"Iteration \d{1,20}(?:, {0,9}Testing net\b)?|(?:Train|Test) net output\b|Test score #|Test loss: |Testing net\b"
    rb"|Initializing (?:solver|net) from parameters:|Starting Optimization\b|Solving \S|Resuming from "
    rb"|Restoring previous solver status from |Finetuning from |Snapshotting to |Optimization Done\b"
)
# A line without any of these is no entry, and cannot be the first part of a broken line that is one.
INTERESTING = re.compile(
    rb"Iteration|T(?:rain|est)|Initializing (?:solver|net)|Starting Opt|Solving |Resuming from|Restoring prev"
    rb"|Finetuning from|Snapshotting to |Optimization Done|F\d{4}"
)
# The text of a line without any of these.
UNINTERESTING = rb"[^ITSROF\n]*+(?:(?!" + INTERESTING.pattern + rb")[ITSROF][^ITSROF\n]*+){0,400}"

ITERATION = re.compile(
    rb"Iteration (?P<iteration>\d{1,20})(?: ?[(\[/<A-Za-z][^=#]{0,160}?)??(?:,|\bep) {0,20}"
    rb"(?:(?P<what>loss|lr) {1,9}= {1,9}(?P<value>"
    + VALUE
    + rb")"
    + _ENDS
    + rb"|(?P<testing>Testing net)(?: \(#(?P<net>\d{1,3})\))?(?![\w(]| \())"
)
# As ITERATION, but cut off or damaged after the number.
BROKEN_ITERATION = re.compile(
    rb"Iteration \d{1,20}(?:,? {0,20}$|[^=#]{0,160}?(?:, {0,20}$|\b(?:l|lo|los|loss|lr|T|Te|Tes|Test|Testing)\b))"
)
_WEIGHTED = (
    rb" {1,20}\([^0-9A-Za-z()]{0,4}? ?(?P<weight>" + VALUE + rb") {1,9}= {1,9}(?P<weighted>" + VALUE + rb") loss\)"
)
_OUTPUT = rb"(?P<phase>Train|Test) net output #(?P<number>\d{1,9}): "
OUTPUT = re.compile(_OUTPUT + rb"(?P<name>\S(?:.*\S)?) {1,9}= {1,9}(?P<value>" + VALUE + rb")(?:" + _WEIGHTED + rb")?")
# The same followed by something else: the name then ends at the first equal sign.
OUTPUT_WITHIN = re.compile(
    _OUTPUT
    + rb"(?P<name>[^\s=](?:[^=]{0,300}?[^\s=])?) {1,9}= {1,9}(?P<value>"
    + VALUE
    + rb")"
    + _ENDS
    + rb"(?:"
    + _WEIGHTED
    + rb"|(?! ?\())"
)
# An output whose ` (* 1 = 2 loss)` is cut off looks like a name with an equal sign in it.
CUT_WEIGHT = re.compile(rb" = " + VALUE + rb" {1,20}\([^0-9A-Za-z()]{0,4}? ?(?:" + VALUE + rb")?$")
# No output name contains one of these; if one seems to, newlines were lost.
ANOTHER = re.compile(rb"(?:Train|Test) net output #\d|Iteration \d+[^=#]{0,160}?(?:loss|lr) = ")
SCORE = re.compile(rb"Test score # ?(?P<number>\d{1,9}): (?P<value>" + VALUE + rb")" + _ENDS)
TEST_LOSS = re.compile(rb"Test loss: (?P<value>" + VALUE + rb")" + _ENDS)
TESTING = re.compile(rb"Testing net(?: \(#(?P<net>\d{1,3})\))?(?![\w(]| \()")
ITERATION_OF_FILE = re.compile(rb"_iter_(\d{1,10})")

# `[0]`, `[0.1]`, `(1.0)`: which of several solvers prints, in NVIDIA's fork.
RANK = re.compile(rb"[\[(]([\w.][\w. -]{0,14})[\])]\s*$")
# And before the header, which process prints: `[0] ` with Intel's MPI, `[1,0]<stderr>:` with Open MPI.
RANK_BEFORE = re.compile(rb"(?:^|[\s>|])\[(\d{1,4}(?:,\d{1,4})?)\](?:<\w{1,9}>:?)? ?$")
# What quoted text has at the beginning of its lines.
QUOTE = rb" \t>|\"'`*"

DIGITS_ONLY = re.compile(rb"[\d.]*\d(?:[eE][-+]?\d+)?$|[eE][-+]?\d+$")

# Fields of SolverParameter that people paste without the announcement; not those that layers have as well.
_FIELD_NAME = (
    rb"(?:display|average_loss|base_lr|lr_policy|power|gamma|stepsize|stepvalue|max_iter|momentum2?|weight_decay"
    rb"|regularization_type|snapshot|snapshot_prefix|snapshot_diff|snapshot_format|snapshot_after_train|test_iter"
    rb"|test_interval|test_initialization|test_compute_loss|iter_size|net|train_net|test_net|random_seed|solver_mode"
    rb"|solver_type|device_id|clip_gradients|rms_decay|delta|debug_info|weights) {0,9}:"
)
_FIELD = _FIELD_NAME + rb" {0,9}(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s#\"',:]+)"
_QUOTED = rb"[ \t>|\"'`*]*"
BEGINS_WITH_FIELD = _QUOTED + rb"(?=\w{1,30} {0,9}:)" + _FIELD_NAME
FIELDS = re.compile(_QUOTED + rb"(" + _FIELD + rb"(?:[ \t,]+" + _FIELD + rb")*)[ \t]*(?:#.*)?$")

# Colours and titles of terminals; non-breaking and zero-width spaces of web pages.
ANSI = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]{0,200}(?:\x07|\x1b\\))")
BLANK, NO_BLANK = "\xa0".encode(), "\u200b".encode()
