"""The object store as the add-on's rooms use it: a client of Swift's API, which is all they know."""
