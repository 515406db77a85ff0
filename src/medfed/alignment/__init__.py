"""Private set intersection between hospitals: which of one's own entries others have too, and nothing else. Pure.

Diffie-Hellman on ristretto255. It must never see a ledger, a blob store or a record's content beyond the entries.
"""
