"""A peer that speaks as socket tutorials teach it: `name<SEPARATOR>size`, then the bytes until the end.

  tutorial.py send HOST PORT FILE [--together] [--piece BYTES]
      --together puts the header and the first piece into one write, and so into one segment
  tutorial.py receive FOLDER
      takes one file on a free port of 127.0.0.1, which is its first line; the second one is the file's name

The receiver is as naive as such programs are: what its first read brings must be the header and nothing else.
"""
import argparse
import pathlib
import socket

MARK = b"<SEPARATOR>"
PIECE = 4096


def send(options):
    path = pathlib.Path(options.file)
    header = path.name.encode() + MARK + str(path.stat().st_size).encode()
    with socket.create_connection((options.host, options.port)) as peer, path.open("rb") as source:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if options.together:
            header += source.read(options.piece)
        peer.sendall(header)
        while piece := source.read(options.piece):
            peer.sendall(piece)


def receive(options):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        peer, _ = listener.accept()
    with peer:
        name, size = peer.recv(PIECE).decode().split(MARK.decode())
        path = pathlib.Path(options.folder) / pathlib.Path(name).name
        got = 0
        with path.open("wb") as target:
            while piece := peer.recv(PIECE):
                got += target.write(piece)
    if got != int(size):
        raise SystemExit(f"{size} bytes were promised, {got} came")
    print(path.name, flush=True)


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    sender = commands.add_parser("send")
    sender.add_argument("host")
    sender.add_argument("port", type=int)
    sender.add_argument("file")
    sender.add_argument("--together", action="store_true")
    sender.add_argument("--piece", type=int, default=PIECE)
    sender.set_defaults(run=send)
    receiver = commands.add_parser("receive")
    receiver.add_argument("folder")
    receiver.set_defaults(run=receive)
    options = parser.parse_args()
    options.run(options)


main()
