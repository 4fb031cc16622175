"""The add-on (identity, images, volumes, servers, networks): not there yet; it will reach the store by HTTP only."""
