"""The cryptography of the phone's page, in a real browser: page_vectors.py [< ROUND_TRIPS]

Loads the worker of the page (src/web/assets/) into headless Chromium, takes crypto.subtle away as plain http does, and holds it
against RFC 8439 (2.3.2, 2.4.2, 2.5.2, 2.6.2, 2.8.2, A.3), RFC 4231, RFC 5869, FIPS 180-4, docs/vectors/web.json, and a
Poly1305 of big integers. Each line of standard input, if there are any, is one more body that another implementation
sealed: {key, number, plain_len, seed, sealed_sha256}, where byte i of the content is
(seed + 7 i + floor(i / 251)) mod 256. One line at the end; exit code 1 and what differs otherwise.
"""
import hashlib
import json
import pathlib
import random
import sys
import tempfile

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORKER = ["crypto", "session", "engine", "sending", "fetching"]
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]
P = 2**130 - 5

# What the checks call: bytes go in and out in hexadecimal.
HARNESS = """
Object.defineProperty(self.crypto, 'subtle', { value: undefined });
const wordsOf = (text) => new Int32Array(unhex(text).buffer);
const aligned = (bytes) => { const copy = new Uint8Array(Math.ceil(bytes.length / 4) * 4).subarray(0, bytes.length); copy.set(bytes); return copy; };
const content = (length, seed) => Uint8Array.from({ length }, (_, i) => seed + 7 * i + Math.floor(i / 251) & 255);
const checks = {
  sha256: (message) => hex(sha256(unhex(message))),
  pieces: (message, cut) => hex(new Sha256().update(unhex(message).subarray(0, cut)).update(unhex(message).subarray(cut)).digest()),
  hmac: (key, message) => hex(hmac(unhex(key), unhex(message))),
  hkdf: (salt, secret, info) => hex(hkdf(unhex(salt), unhex(secret), unhex(info))),
  derive: (secret, ...info) => hex(derive(unhex(secret), ...info.map(unhex))),
  block: (key, counter, nonce) => {
    const state = new Cipher(unhex(key)).state;
    state[12] = counter;
    state.set(wordsOf(nonce), 13);
    const out = new Int32Array(16);
    chacha(state, out, 0, out, 0, 1);
    return hex(new Uint8Array(out.buffer));
  },
  oneTimeKey: (key, nonce) => checks.block(key, 0, nonce).slice(0, 64),
  chacha: (key, counter, nonce, message) => {
    const cipher = new Cipher(unhex(key));
    cipher.state[12] = counter;
    cipher.state.set(wordsOf(nonce), 13);
    const source = aligned(unhex(message));
    cipher.crypt(source, source);
    return hex(source);
  },
  poly: (key, message) => {
    const poly = new Poly1305();
    const tag = new Int32Array(4);
    poly.begin(wordsOf(key));
    const whole = message.length >> 5;
    poly.blocks(wordsOf(message.slice(0, 32 * whole)), 0, whole);
    const rest = message.slice(32 * whole);
    if (rest) poly.blocks(wordsOf((rest + '01').padEnd(32, '0')), 0, 1, 0);
    poly.end(tag);
    return hex(new Uint8Array(tag.buffer));
  },
  aead: (key, nonce, aad, message) => {
    const cipher = new Cipher(unhex(key));
    cipher.state[12] = 0;
    cipher.state.set(wordsOf(nonce), 13);
    const first = new Int32Array(16);
    chacha(cipher.state, first, 0, first, 0, 1);
    cipher.poly.begin(first);
    const sealed = aligned(unhex(message));
    cipher.crypt(sealed, sealed);
    const padded = (text) => text.padEnd(Math.ceil(text.length / 32) * 32, '0');
    const all = wordsOf(padded(aad) + padded(hex(sealed)));
    cipher.poly.blocks(all, 0, all.length / 4);
    cipher.poly.blocks(Int32Array.of(aad.length / 2, 0, sealed.length, 0), 0, 1);
    cipher.poly.end(cipher.tag);
    return [hex(sealed), hex(new Uint8Array(cipher.tag.buffer))];
  },
  seal: (key, number, length, seed) => {
    const plain = content(length, seed);
    const { out } = new Sealer(new Cipher(unhex(key)), number, length).push(plain);
    const opened = openWhole(new Cipher(unhex(key)), number, out);
    const parts = [];
    const opener = new Opener(new Cipher(unhex(key)), number, (part) => parts.push(part));
    for (let at = 0; at < out.length; at += 9973) opener.push(out.subarray(at, at + 9973));
    opener.end();
    const refused = (change) => {
      try {
        openWhole(new Cipher(unhex(key)), number, change(out.slice()));
        return false;
      } catch (fault) {
        return fault instanceof Fault;
      }
    };
    const flip = (at) => (bytes) => { bytes[at] ^= 1; return bytes; };
    return {
      bytes: out.length, first: hex(out.subarray(0, 16)), last: hex(out.subarray(-16)), sha256: hex(sha256(out)),
      back: same(opened, plain) && same(concat(...parts), plain),
      closed: refused(flip(0)) && refused(flip(out.length - 1)) && refused((bytes) => bytes.subarray(0, -1))
        && (length <= 65536 || refused((bytes) => bytes.subarray(0, 65552))),
    };
  },
  header: (id, auth, s, method, target, number) => {
    session = { id };
    return signed(method, target, { view: { auth: unhex(auth), s: unhex(s) }, number })['X-Qrdrop'];
  },
  speed: () => {
    const plain = new Uint8Array(16 << 20);
    const cipher = new Cipher(new Uint8Array(32));
    const rates = [];
    for (let round = 0, room; round < 8; round++) {
      const began = performance.now();
      room = new Sealer(cipher, round, plain.length, room).push(plain).room;
      rates.push(plain.length / 1000 / (performance.now() - began));
    }
    return rates.sort((a, b) => b - a)[3];
  },
};
self.check = (calls) => calls.map(([name, ...values]) => checks[name](...values));
"""


class Checks:
    """Calls and what they should give, carried out together."""

    def __init__(self, browser):
        self.browser, self.calls, self.wanted, self.wrong, self.count = browser, [], [], [], 0

    def add(self, name, wanted, *values):
        self.calls.append([name, *values])
        self.wanted.append((name, wanted))

    def run(self):
        for (name, wanted), got in zip(self.wanted, self.browser.execute_script("return check(arguments[0])", self.calls)):
            self.count += 1
            if isinstance(wanted, dict):
                got = {field: got[field] for field in wanted}
            if got != wanted:
                self.wrong.append(f"{name}: {got} is not {wanted}")
        self.calls, self.wanted = [], []


def digests(checks):
    """FIPS 180-4, RFC 4231, the first 32 bytes of RFC 5869."""
    long = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"
    checks.add("sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", b"abc".hex())
    checks.add("sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "")
    checks.add("sha256", "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1", long.hex())
    checks.add("sha256", "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0", (b"a" * 1_000_000).hex())
    for length in range(200):
        message = bytes(range(length))
        checks.add("pieces", hashlib.sha256(message).hexdigest(), message.hex(), length * 5 // 7)
    for key, message, digest in [
        ("0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (b"Jefe".hex(), b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        ("aa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        (bytes(range(1, 26)).hex(), b"\xcd" * 50, "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
        ("aa" * 131, b"Test Using Larger Than Block-Size Key - Hash Key First",
         "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"),
        ("aa" * 131, b"This is a test using a larger than block-size key and a larger than block-size data. The key needs to "
         b"be hashed before being used by the HMAC algorithm.", "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"),
    ]:
        checks.add("hmac", digest, key, message.hex())
    checks.add("hmac", "a3b6167473100ee06e0c796c2955552bfa6f7c0a6a8aef8b93f860aab0cd20c5", "0c" * 20, b"Test With Truncation".hex())
    checks.add("hkdf", "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf",
               bytes(range(13)).hex(), "0b" * 22, bytes(range(0xf0, 0xfa)).hex())
    checks.add("hkdf", "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c",
               bytes(range(0x60, 0xb0)).hex(), bytes(range(0x50)).hex(), bytes(range(0xb0, 0x100)).hex())
    checks.add("hkdf", "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d", "", "0b" * 22, "")


def poly1305(key, message):
    """RFC 8439, 2.5.1."""
    r = int.from_bytes(key[:16], "little") & 0x0ffffffc0ffffffc0ffffffc0fffffff
    total = 0
    for at in range(0, len(message), 16):
        total = (total + int.from_bytes(message[at:at + 16] + b"\1", "little")) * r % P
    return ((total + int.from_bytes(key[16:], "little")) % 2**128).to_bytes(16, "little")


def authenticators(checks):
    """RFC 8439, 2.5.2 and A.3; then keys and blocks of extreme words, where limbs and carries are at their bounds."""
    ietf = (b'Any submission to the IETF intended by the Contributor for publication as all or part of an IETF Internet-Draft or '
            b'RFC and any statement made within the context of an IETF activity is considered an "IETF Contribution". Such '
            b'statements include oral statements in IETF sessions, as well as written and electronic communications made at any '
            b'time or place, which are addressed to')
    jabber = (b"'Twas brillig, and the slithy toves\nDid gyre and gimble in the wabe:\nAll mimsy were the borogoves,\n"
              b"And the mome raths outgrabe.")
    two, f = "02" + "00" * 31, "ff" * 16
    one, four = "01" + "00" * 31, "0100000000000000" "0400000000000000" + "00" * 16
    for key, message, tag in [
        ("85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b", b"Cryptographic Forum Research Group".hex(),
         "a8061dc1305136c6c22b8baf0c0127a9"),
        ("00" * 32, "00" * 64, "00" * 16),
        ("00" * 16 + "36e5f6b5c5e06070f0efca96227a863e", ietf.hex(), "36e5f6b5c5e06070f0efca96227a863e"),
        ("36e5f6b5c5e06070f0efca96227a863e" + "00" * 16, ietf.hex(), "f3477e7cd95417af89a6b8794c310cf0"),
        ("1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0", jabber.hex(), "4541669a7eaaee61e708dc7cbcc5eb62"),
        (two, f, "03" + "00" * 15),
        ("02" + "00" * 15 + f, "02" + "00" * 15, "03" + "00" * 15),
        (one, f + "f0" + "ff" * 15 + "11" + "00" * 15, "05" + "00" * 15),
        (one, f + "fbfefefefefefefefefefefefefefefe" + "01" * 16, "00" * 16),
        (two, "fd" + "ff" * 15, "fa" + "ff" * 15),
        (four, "e33594d7505e43b900000000000000003394d7505e4379cd01000000000000000000000000000000000000000000000001"
         + "00" * 15, "14000000000000005500000000000000"),
        (four, "e33594d7505e43b900000000000000003394d7505e4379cd010000000000000000000000000000000000000000000000",
         "13" + "00" * 15),
    ]:
        checks.add("poly", tag, key, message)
    chance = random.Random(8439)
    for _ in range(3000):
        word = lambda: chance.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xfb\xff\xff\xff", b"\xff\xff\x3f\0", chance.randbytes(4)])
        key = b"".join(word() for _ in range(8))
        message = b"".join(word() for _ in range(chance.randrange(40))) + chance.randbytes(chance.randrange(4))
        checks.add("poly", poly1305(key, message).hex(), key.hex(), message.hex())


def ciphers(checks):
    """RFC 8439, 2.3.2, 2.4.2, 2.6.2, 2.8.2."""
    key = bytes(range(32)).hex()
    sun = (b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.").hex()
    checks.add("block", "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4ed2826446079faa0914c2d705d98b02a2"
               "b5129cd1de164eb9cbd083e8a2503c4e", key, 1, "000000090000004a00000000")
    checks.add("chacha", "6e2e359a2568f98041ba0728dd0d6981e97e7aec1d4360c20a27afccfd9fae0bf91b65c5524733ab8f593dabcd62b357"
               "1639d624e65152ab8f530c359f0861d807ca0dbf500d6a6156a38e088a22b65e52bc514d16ccf806818ce91ab77937365af90bbf74"
               "a35be6b40b8eedf2785e42874d", key, 1, "000000000000004a00000000", sun)
    checks.add("oneTimeKey", "8ad5a08b905f81cc815040274ab29471a833b637e3fd0da508dbb8e2fdd1a646",
               bytes(range(0x80, 0xa0)).hex(), "000000000001020304050607")
    checks.add("aead", ["d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a"
                        "9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9d"
                        "e576d26586cec64b6116", "1ae10b594f09e26a7e902ecbd0600691"],
               bytes(range(0x80, 0xa0)).hex(), "070000004041424344454647", "50515253c0c1c2c3c4c5c6c7", sun)


def dialect(checks):
    """docs/vectors/web.json."""
    v = json.loads((ROOT / "docs/vectors/web.json").read_text())
    word = lambda text: text.encode().hex()
    first, second = v["views"]
    checks.add("derive", v["claim"]["key"], v["token"], word("claim"))
    checks.add("hmac", v["claim"]["page_proof"], v["claim"]["key"], word("claim page") + first["p"] + word(v["host"]))
    checks.add("hmac", v["claim"]["host_proof"], v["claim"]["key"], word("claim host") + first["p"] + first["s"] + v["id"])
    checks.add("derive", v["session_secret"], v["token"], word("session"), first["p"], first["s"])
    checks.add("derive", v["open"]["key"], v["session_secret"], word("open"))
    checks.add("hmac", v["open"]["page_proof"], v["open"]["key"], word("open page") + second["p"] + v["id"])
    checks.add("hmac", v["open"]["host_proof"], v["open"]["key"], word("open host") + second["p"] + second["s"] + v["id"])
    for view in v["views"]:
        for field, info in [("auth", "auth page"), ("seal_page", "seal page"), ("seal_host", "seal host")]:
            checks.add("derive", view[field], v["session_secret"], word(info), view["p"], view["s"])
    for request in v["requests"]:
        view = v["views"][request["view"]]
        checks.add("header", request["header"], v["id"], view["auth"], view["s"], request["method"], request["target"], request["number"])
    for body in v["sealed"]:
        checks.add("seal", {"bytes": body["sealed_bytes"], "first": body["first_16"], "last": body["last_16"],
                            "sha256": body["sha256"], "back": True, "closed": True},
                   first["seal_page"], body["number"], body["bytes"], 0)


def main():
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    with tempfile.TemporaryDirectory() as profile:
        for flag in [*FLAGS, f"--user-data-dir={profile}"]:
            options.add_argument(flag)
        browser = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        try:
            browser.get("about:blank")
            worker = "".join((ROOT / f"src/web/assets/{name}.js").read_text() for name in WORKER)
            for script in [worker, HARNESS]:
                browser.execute_script("const script = document.createElement('script'); script.textContent = arguments[0];"
                                       "document.head.append(script);", script)
            checks = Checks(browser)
            for group in [digests, authenticators, ciphers, dialect]:
                group(checks)
                checks.run()
            for line in sys.stdin if not sys.stdin.isatty() else []:
                body = json.loads(line)
                checks.add("seal", {"sha256": body["sealed_sha256"], "back": True, "closed": True},
                           body["key"], body["number"], body["plain_len"], body["seed"])
                checks.run()
            speed = browser.execute_script("return check([['speed']])[0]")
        finally:
            browser.quit()
    for wrong in checks.wrong:
        print(wrong)
    if checks.wrong:
        sys.exit(1)
    print(f"{checks.count} checks agree; sealing at {speed:.0f} MB/s")


main()
