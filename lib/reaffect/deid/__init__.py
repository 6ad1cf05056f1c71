"""De-identification: faces by a blur (`blur_faces`), voices by the McAdams coefficient (`mcadams`), or both at once.

from reaffect import deid
record = deid.deidentify("interview.mp4", "interview_deidentified.mp4")
record.counts                     # how many frames, by how their faces were found
deid.read_record(record.file)     # every frame's boxes
"""

from __future__ import annotations

from reaffect.deid.faces import blur_faces, deidentify
from reaffect.deid.many import Deidentified, deidentify_all
from reaffect.deid.record import Record, read_record
from reaffect.deid.voices import mcadams

__all__ = ["Deidentified", "Record", "blur_faces", "deidentify", "deidentify_all", "mcadams", "read_record"]
