"""Copies of volumes in the object store: what is written, what may be deleted, and when.

The engine only: the API and its records are the volume room's. See doc/backups.md.
"""
