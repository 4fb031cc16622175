"""How the cluster is: what processes report, and what that means in sentences.

`report.py` has the report's types, `judge.py` makes a `Health` of a report and the ring; between them
are pure functions only. Who asks whom is in `tools/gather.py`, who shows it in `tools/admin.py`,
`tools/status.py` and `tools/page/`.
"""
