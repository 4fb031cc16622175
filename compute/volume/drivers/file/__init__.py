"""Volumes as sparse files of one host's folder."""
