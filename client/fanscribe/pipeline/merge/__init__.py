"""Answers of many tasks -> one transcript. Pure: no clock, no I/O; the input is never changed."""

from fanscribe.pipeline.merge.assemble import merge, merge_channels, transcript_of
from fanscribe.pipeline.merge.channels import channel_label, interleave
from fanscribe.pipeline.merge.link import DiarizedPart, link
from fanscribe.pipeline.merge.naming import rename_speakers, speaker_labels
from fanscribe.pipeline.merge.speakers import assign_speakers
from fanscribe.pipeline.merge.stitch import Part, part_of, stitch
from fanscribe.pipeline.merge.times import shift

__all__ = [
    "DiarizedPart",
    "Part",
    "assign_speakers",
    "channel_label",
    "interleave",
    "link",
    "merge",
    "merge_channels",
    "part_of",
    "rename_speakers",
    "shift",
    "speaker_labels",
    "stitch",
    "transcript_of",
]
