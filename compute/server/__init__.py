"""The add-on's HTTP side: requests and answers as data, routes, schemas, errors, the process."""
