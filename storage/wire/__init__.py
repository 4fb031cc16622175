"""The node protocol: framed calls between the workers of one node and between nodes."""
