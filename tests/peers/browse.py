"""Finds receivers with python-zeroconf: browse.py ADDRESS

Prints a line of JSON when one is resolved, {"found": instance, "addresses": [...], "port": N, "txt": {...}}, and one
when it is gone, {"gone": instance}, until it is ended. ADDRESS is that of the interface to look on.
"""
import json
import sys
import threading

from zeroconf import IPVersion, ServiceBrowser, Zeroconf

KIND = "_qrdrop._tcp.local."


class Listener:
    def add_service(self, zeroconf, kind, name):
        info = zeroconf.get_service_info(kind, name, timeout=5000)
        if info is None:
            return
        txt = {(key or b"").decode(): (value or b"").decode(errors="replace") for key, value in info.properties.items()}
        say({"found": name, "addresses": info.parsed_addresses(IPVersion.V4Only), "port": info.port, "txt": txt})

    def update_service(self, zeroconf, kind, name):
        pass

    def remove_service(self, zeroconf, kind, name):
        say({"gone": name})


def say(event):
    print(json.dumps(event), flush=True)


ServiceBrowser(Zeroconf(interfaces=[sys.argv[1]], ip_version=IPVersion.V4Only), KIND, Listener())
threading.Event().wait()
