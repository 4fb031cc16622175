"""What the store decides: rows by quorum, containers, objects, listings, multipart. Knows no HTTP."""
