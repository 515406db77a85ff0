"""FHIR R4 in and out: streamed resources become facts, facts become cases, and cases become Bundles again."""
