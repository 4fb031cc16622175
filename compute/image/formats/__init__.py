"""What an image's bytes are, told as they stream by: `inspect` decides, a module knows each format.

Nothing here is asked by name or by suffix, and no more of an image is kept than its headers.
"""
