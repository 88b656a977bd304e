"""The recording: ring buffer, HDF5 writer and reader."""

from harness.errors import BadInput, RecordingError, RecordingFailed
from harness.recording.labelled import Labelled
from harness.recording.reader import Recording
from harness.schemas.window import Window

__all__ = ["BadInput", "Labelled", "Recording", "RecordingError", "RecordingFailed", "Window"]
