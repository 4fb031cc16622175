"""The operators' page on the admin port: read-only, rendered here, with nothing fetched from elsewhere.

`view.py` makes of a report what there is to show, `ring_picture.py` the circle, `render.py` the HTML.
"""
