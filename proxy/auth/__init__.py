"""Who is asking, and is the body what was signed: SigV4, SigV2, TempAuth, ACLs, body decoding.

Pure functions and small objects over bytes and headers; no sockets, no HTTP server, no storage. The
front ends (`proxy/s3`, `proxy/swift`) call it and map its errors (`errors.py`) to their own.
"""
