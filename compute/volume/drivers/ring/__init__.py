"""Volumes that live in the object store."""
