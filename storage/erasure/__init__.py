"""Erasure coding: segments become k data and m parity fragments, and any k of them the segment again.

`contract.py` says what a codec promises, `fragment.py` is the format of a fragment, `isal.py` and
`portable.py` are the codecs, `registry.py` finds one by its name. No I/O here: the proxy core encodes
and decodes, the repair workers reconstruct.
"""
