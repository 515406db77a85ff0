"""Patient records: cases, their import and export, vocabularies and vectors, and a site's case library.

What identifies a patient stays in the library's file. Nothing here may log, print or raise a patient's value.
"""
