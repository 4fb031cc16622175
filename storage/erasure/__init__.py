"""Erasure codecs behind one contract: ISA-L (pyeclib) and zfec."""
