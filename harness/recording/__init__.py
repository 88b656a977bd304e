"""The recording: frame layout, ring, HDF5 writer and reader. The format lives here and nowhere else."""

from harness.errors import BadInput, RecordingError, RecordingFailed
from harness.recording.reader import Labelled, Recording
from harness.schemas.window import Window

__all__ = ["BadInput", "Labelled", "Recording", "RecordingError", "RecordingFailed", "Window"]
