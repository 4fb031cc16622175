"""The S3 API: translates requests to proxy/core and its answers and errors to S3's XML."""
