"""Blobs: immutable bytes named by their SHA-256, in memory or in a directory."""

from medfed.blobs.directory import DirectoryBlobs
from medfed.blobs.memory import MemoryBlobs
from medfed.blobs.store import BlobStore, awaiting_good_copy

__all__ = ["BlobStore", "DirectoryBlobs", "MemoryBlobs", "awaiting_good_copy"]
