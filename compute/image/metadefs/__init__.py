"""Metadata definitions: which properties of images, volumes and servers there are, for those who ask.

A room within the room: it has tables, rules and schemas of its own, and no image is concerned.
"""
