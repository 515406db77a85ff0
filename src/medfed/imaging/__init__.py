"""Images with findings: pictures and DICOM in, annotations of three formats in and out, and how good a detector is.

Nothing here trains, and nothing here knows a ledger. A file's name, which may be a patient's, never leaves the site.
"""
