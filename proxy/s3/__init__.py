"""The S3 front end: HTTP and XML on one side, the verbs of `proxy/core/contract.py` on the other.

`app.py` admits a request and finds its verb; one file per verb group translates; `errors.py` says how
each error is told. No object logic lives here: what the store decides, the core decides.
"""
