"""A server of the NBD protocol (github.com/NetworkBlockDevice/nbd, doc/proto.md)."""
