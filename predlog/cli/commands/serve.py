"""`predlog serve`: the pages of a folder's runs in a browser, kept up to date while they go on."""

import argparse
import sys
from pathlib import Path

from predlog.cli import tell
from predlog.serve.app import App
from predlog.serve.guard import Guard
from predlog.serve.server import address, is_wildcard, listening, own_names, serve, token_of


def run(arguments: argparse.Namespace) -> int:
    """Serve until interrupted; the address is the only line that is printed."""
    folder = Path(arguments.folder)
    app = App(folder, arguments.most)
    token = token_of(arguments.token_file and Path(arguments.token_file))
    opened = listening(arguments.host, arguments.port)
    names = [*arguments.allow_host, *own_names(arguments.host)]
    guarded = Guard(app, token, names, any_address=is_wildcard(arguments.host))
    tell(f"predlog serves {folder} at {address(opened, arguments.host, token)} (Ctrl-C ends it)")
    sys.stdout.flush()
    serve(opened, guarded, app.end)
    return 0
