"""Volumes, snapshots and what is made of them, after Cinder v3."""
