"""The OpenStack Swift API: translates requests to proxy/core and its answers back."""
