"""The device engine: journal, memtable, index and blobs of one directory, owned by one process."""
