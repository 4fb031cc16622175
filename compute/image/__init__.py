"""The image service, Glance v2: images, their bytes in the object store, and what may be in them."""
