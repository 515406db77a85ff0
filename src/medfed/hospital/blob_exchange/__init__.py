"""Blobs between hospitals: who may have which, asking with one's name under it, and fetching from peers."""
