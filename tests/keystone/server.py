"""Serves a Keystone's public API by its own WSGI application. Run by the environment that has Keystone.

Arguments: configuration file, port.
"""

import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server


class Server(ThreadingMixIn, WSGIServer):
    """A thread for each request."""

    daemon_threads = True


def main() -> None:
    """Serve until SIGTERM."""
    config, port = sys.argv[1:3]
    sys.argv = ["keystone", "--config-file", config]
    from keystone.server.wsgi import initialize_public_application

    make_server(
        "127.0.0.1", int(port), initialize_public_application(), server_class=Server
    ).serve_forever()


if __name__ == "__main__":
    main()
