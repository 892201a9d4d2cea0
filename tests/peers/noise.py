"""What a hostile or clumsy device does to mDNS: noise.py MODE ARGUMENTS

  garbage IP COUNT     so many datagrams from IP that are no messages: cut, with loops of pointers, with lengths that lie
  services IP COUNT    so many receivers that don't exist, announced from IP
  hold                 keeps port 5353 to itself until it is ended

Says one line when it is done, or holds.
"""
import random
import socket
import struct
import sys
import time

GROUP = ("224.0.0.251", 5353)
TYPE = b"\x07_qrdrop\x04_tcp\x05local\x00"
# Datagrams in a row before the receiving side gets a chance to read: else the kernel drops most of them.
BURST = 50


def sender(ip):
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    out.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    out.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(ip))
    out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
    out.bind((ip, 5353))
    return out


def send_all(ip, messages):
    out = sender(ip)
    for number, message in enumerate(messages):
        out.sendto(message, GROUP)
        if number % BURST == 0:
            time.sleep(0.001)


def record(name, kind, data, unique=True):
    return name + struct.pack("!HHIH", kind, 0x8001 if unique else 1, 120, len(data)) + data


def garbage(count):
    dice = random.Random(count)
    whole = service(7)
    for number in range(count):
        kind = number % 5
        if kind == 0:  # a pointer to itself
            yield struct.pack("!6H", 0, 0x8400, 0, 1, 0, 0) + b"\xc0\x0c" + struct.pack("!HHIH", 12, 1, 120, 2) + b"\xc0\x0c"
        elif kind == 1:  # two that point at each other, in a question
            yield struct.pack("!6H", 0, 0, 2, 0, 0, 0) + b"\xc0\x12\x00\x0c\x00\x01\xc0\x0c\x00\x0c\x00\x01"
        elif kind == 2:  # cut anywhere
            yield whole[: dice.randrange(len(whole))]
        elif kind == 3:  # more records than there are, and a length beyond the end
            yield struct.pack("!6H", 0, 0x8400, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF) + record(TYPE, 16, b"\xff" * 8)[:-4]
        else:  # anything
            yield dice.randbytes(dice.randrange(1, 512))


def service(number):
    label = b"Ghost %d" % number
    instance = bytes([len(label)]) + label + TYPE
    host = b"\x06g%05d\x05local\x00" % number
    text = b"".join(bytes([len(item)]) + item for item in (b"v=1", b"id=ghost", b"n=" + label, b"c=0", b"k=inbox"))
    answers = [
        record(TYPE, 12, instance, unique=False),
        record(instance, 33, struct.pack("!HHH", 0, 0, 5001) + host),
        record(instance, 16, text),
        record(host, 1, struct.pack("!BBBB", 10, 83, 7, 1 + number % 250)),
    ]
    return struct.pack("!6H", 0, 0x8400, 0, len(answers), 0, 0) + b"".join(answers)


def main(mode, *arguments):
    if mode == "hold":
        held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        held.bind(("", 5353))
        print("held", flush=True)
        sys.stdin.read()
        return
    ip, count = arguments[0], int(arguments[1])
    send_all(ip, garbage(count) if mode == "garbage" else (service(number) for number in range(count)))
    print("done", flush=True)


main(*sys.argv[1:])
