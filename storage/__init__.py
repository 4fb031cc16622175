"""One node: devices, rows, blobs, erasure coding and the node protocol."""
