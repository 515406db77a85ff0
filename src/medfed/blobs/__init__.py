"""Blobs: immutable bytes named by their SHA-256, in memory, in a directory, or in a store elsewhere (`remote`)."""

from medfed.blobs.directory import DirectoryBlobs
from medfed.blobs.memory import MemoryBlobs
from medfed.blobs.store import BlobStore, SiteBlobs, awaiting_good_copy

__all__ = ["BlobStore", "DirectoryBlobs", "MemoryBlobs", "SiteBlobs", "awaiting_good_copy"]
