"""A phone's page as protocol.md 11 describes it, as far as sending takes it."""

import base64
import hashlib
import hmac
import json
import os
import socket

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

RECORD = 65_536
PATIENCE_S = 120


class Refused(Exception):
    """The host has answered otherwise than with 200."""

    def __init__(self, status, said):
        super().__init__(f"{status}: {said[:200]}")
        self.status = status


def derive(secret, *info):
    return HKDF(hashes.SHA256(), 32, b"qrdrop/1 web", b"".join(info)).derive(secret)


def mac(key, *parts):
    return hmac.new(key, b"".join(parts), hashlib.sha256).digest()


def nonce(record, request):
    return record.to_bytes(4, "big") + request.to_bytes(8, "big")


class Page:
    """A page that was loaded from the code."""

    def __init__(self, link, source="127.0.0.1"):
        self.host, fragment = link.removeprefix("http://").split("/#1")
        address, port = self.host.rsplit(":", 1)
        self.to, self.source, self.next = (address, int(port)), source, 0
        token = base64.urlsafe_b64decode(fragment + "=")[:16]
        p, key = os.urandom(16), derive(token, b"claim")
        proof = mac(key, b"claim page", p, self.host.encode())
        said = json.loads(self.ask("POST", "/claim", json.dumps({"p": p.hex(), "proof": proof.hex()}).encode()))
        self.s, self.id = bytes.fromhex(said["s"]), bytes.fromhex(said["id"])
        secret = derive(token, b"session", p, self.s)
        self.auth, self.page, self.seal = (derive(secret, what, p, self.s) for what in
                                           (b"auth page", b"seal page", b"seal host"))

    def ask(self, method, target, body, fields=""):
        """The body of what is answered, on a connection of its own."""
        head = f"{method} {target} HTTP/1.1\r\nHost: {self.host}\r\nContent-Length: {len(body)}\r\n{fields}Connection: close\r\n\r\n"
        with socket.create_connection(self.to, PATIENCE_S, (self.source, 0)) as stream:
            stream.sendall(head.encode() + body)
            answer = bytearray()
            while piece := stream.recv(65_536):
                answer += piece
        head, _, said = bytes(answer).partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1]) if head else 0
        if status != 200:
            raise Refused(status, said)
        return said

    def call(self, method, target, content):
        """A signed and sealed request; what is answered, opened."""
        number, self.next = self.next, self.next + 1
        signature = mac(self.auth, f"{method} {target}\n".encode(), self.s, number.to_bytes(8, "big"))
        key, pieces = ChaCha20Poly1305(self.page), [content[at:at + RECORD] for at in range(0, len(content), RECORD)] or [b""]
        sealed = b"".join(key.encrypt(nonce(n, number), piece, bytes([n + 1 == len(pieces)])) for n, piece in enumerate(pieces))
        said = self.ask(method, target, sealed, f"X-Qrdrop: {self.id.hex()}.{number}.{signature.hex()}\r\n")
        records = [said[at:at + RECORD + 16] for at in range(0, len(said), RECORD + 16)]
        key = ChaCha20Poly1305(self.seal)
        return json.loads(b"".join(key.decrypt(nonce(n, number), record, bytes([n + 1 == len(records)]))
                                   for n, record in enumerate(records)))

    def verb(self, verb, **request):
        return self.call("POST", f"/api/{verb}", json.dumps(request).encode())

    def send(self, name, content):
        """Offers a file, waits for the yes, and sends it; the name that it was stored under."""
        transfer, version = os.urandom(16).hex(), 0
        self.verb("offer", transfer=transfer, first=0, entries=[{"path": name, "bytes": len(content)}], last=True)
        while (seen := self.verb("wait", transfer=transfer, version=version))["state"] == "asking":
            version = seen["version"]
        if seen["state"] != "accepted":
            raise Refused(200, json.dumps(seen).encode())
        return self.call("PUT", f"/api/data/{transfer}/0/0", content)["stored"]["name"]
