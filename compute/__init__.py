"""The add-on (identity, images, volumes, servers, networks): not there yet. It will reach the store by
HTTP only."""
