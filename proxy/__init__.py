"""The front doors: proxy/s3 and proxy/swift translate, proxy/core decides, proxy/auth admits."""
