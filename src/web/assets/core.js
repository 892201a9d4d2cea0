'use strict';
// The engine of the page (docs/protocol.md, section 11), without a DOM. It runs in a worker that ui.js makes of this
// text, or in the page itself where no worker can be had. On plain http there is no crypto.subtle: hence the
// first half.

const RECORD = 65536;
const TAG = 16;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

// ---- bytes

const bytesOf = (part) => typeof part === 'string' ? encoder.encode(part) : part;

function concat(...parts) {
  const all = parts.map(bytesOf);
  const whole = new Uint8Array(all.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of all) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
const unhex = (text) => Uint8Array.from(text.match(/../g) || [], (pair) => parseInt(pair, 16));
const random = (length) => crypto.getRandomValues(new Uint8Array(length));

function u64(value) {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, value / 0x100000000);
  view.setUint32(4, value);
  return bytes;
}

function same(a, b) {
  let differs = a.length ^ b.length;
  for (let i = 0; i < a.length; i++) differs |= a[i] ^ b[i];
  return differs === 0;
}

// ---- SHA-256 (FIPS 180-4), HMAC (RFC 2104), HKDF (RFC 5869)

const PRIMES = [];
for (let n = 2; PRIMES.length < 64; n++) if (PRIMES.every((prime) => n % prime)) PRIMES.push(n);
const fraction = (root) => (root - Math.floor(root)) * 0x100000000 | 0;
const START = Int32Array.from(PRIMES.slice(0, 8), (prime) => fraction(Math.sqrt(prime)));
const ROUND = Int32Array.from(PRIMES, (prime) => fraction(Math.cbrt(prime)));
const schedule = new Int32Array(64);

class Sha256 {
  constructor() {
    this.state = START.slice();
    this.rest = new Uint8Array(64);
    this.length = 0;
  }

  update(bytes) {
    let used = this.length % 64;
    let at = 0;
    this.length += bytes.length;
    if (used) {
      at = Math.min(64 - used, bytes.length);
      this.rest.set(bytes.subarray(0, at), used);
      used += at;
      if (used < 64) return this;
      this.blocks(this.rest, 0, 64);
    }
    const whole = bytes.length - (bytes.length - at) % 64;
    this.blocks(bytes, at, whole);
    this.rest.set(bytes.subarray(whole));
    return this;
  }

  blocks(bytes, from, to) {
    const w = schedule;
    const h = this.state;
    for (; from < to; from += 64) {
      for (let i = 0, at = from; i < 16; i++, at += 4) {
        w[i] = bytes[at] << 24 | bytes[at + 1] << 16 | bytes[at + 2] << 8 | bytes[at + 3];
      }
      for (let i = 16; i < 64; i++) {
        const x = w[i - 15];
        const y = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + ((x >>> 7 | x << 25) ^ (x >>> 18 | x << 14) ^ x >>> 3)
          + ((y >>> 17 | y << 15) ^ (y >>> 19 | y << 13) ^ y >>> 10) | 0;
      }
      let a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], k = h[7];
      for (let i = 0; i < 64; i++) {
        const one = k + ((e >>> 6 | e << 26) ^ (e >>> 11 | e << 21) ^ (e >>> 25 | e << 7)) + (g ^ e & (f ^ g))
          + ROUND[i] + w[i] | 0;
        const two = ((a >>> 2 | a << 30) ^ (a >>> 13 | a << 19) ^ (a >>> 22 | a << 10)) + (a & b | c & (a | b)) | 0;
        k = g; g = f; f = e; e = d + one | 0; d = c; c = b; b = a; a = one + two | 0;
      }
      h[0] += a; h[1] += b; h[2] += c; h[3] += d; h[4] += e; h[5] += f; h[6] += g; h[7] += k;
    }
  }

  /** The digest of what came so far; more may follow. */
  digest() {
    const end = new Sha256();
    end.state.set(this.state);
    const used = this.length % 64;
    const last = new Uint8Array(used < 56 ? 64 : 128);
    last.set(this.rest.subarray(0, used));
    last[used] = 0x80;
    last.set(u64(this.length * 8), last.length - 8);
    end.blocks(last, 0, last.length);
    const out = new DataView(new ArrayBuffer(32));
    end.state.forEach((word, i) => out.setInt32(4 * i, word));
    return new Uint8Array(out.buffer);
  }
}

const sha256 = (...parts) => new Sha256().update(concat(...parts)).digest();

function hmac(key, ...parts) {
  const block = new Uint8Array(64);
  block.set(key.length > 64 ? sha256(key) : key);
  return sha256(block.map((byte) => byte ^ 0x5c), sha256(block.map((byte) => byte ^ 0x36), ...parts));
}

function hkdf(salt, secret, info, length = 32) {
  const key = hmac(bytesOf(salt), secret);
  let out = new Uint8Array(0);
  for (let n = 1, last = out; out.length < length; n++) {
    last = hmac(key, last, info, Uint8Array.of(n));
    out = concat(out, last);
  }
  return out.slice(0, length);
}

// ---- ChaCha20-Poly1305 (RFC 8439). Words are little-endian, as they are in the memory of every phone and computer
// that browsers still run on; `start` checks it.

/** ChaCha20 (RFC 8439, 2.4) over `blocks` whole blocks of 16 words; the counter in `state` goes on. */
function chacha(state, input, from, output, to, blocks) {
  let s12 = state[12];
  const s0 = state[0], s1 = state[1], s2 = state[2], s3 = state[3], s4 = state[4], s5 = state[5], s6 = state[6],
    s7 = state[7], s8 = state[8], s9 = state[9], s10 = state[10], s11 = state[11], s13 = state[13],
    s14 = state[14], s15 = state[15];
  for (; blocks > 0; blocks--, from += 16, to += 16, s12 = s12 + 1 | 0) {
    let x0 = s0, x1 = s1, x2 = s2, x3 = s3, x4 = s4, x5 = s5, x6 = s6, x7 = s7, x8 = s8, x9 = s9, x10 = s10,
      x11 = s11, x12 = s12, x13 = s13, x14 = s14, x15 = s15;
    for (let round = 0; round < 10; round++) {
      x0 = x0 + x4 | 0; x12 ^= x0; x12 = x12 << 16 | x12 >>> 16;
      x8 = x8 + x12 | 0; x4 ^= x8; x4 = x4 << 12 | x4 >>> 20;
      x0 = x0 + x4 | 0; x12 ^= x0; x12 = x12 << 8 | x12 >>> 24;
      x8 = x8 + x12 | 0; x4 ^= x8; x4 = x4 << 7 | x4 >>> 25;
      x1 = x1 + x5 | 0; x13 ^= x1; x13 = x13 << 16 | x13 >>> 16;
      x9 = x9 + x13 | 0; x5 ^= x9; x5 = x5 << 12 | x5 >>> 20;
      x1 = x1 + x5 | 0; x13 ^= x1; x13 = x13 << 8 | x13 >>> 24;
      x9 = x9 + x13 | 0; x5 ^= x9; x5 = x5 << 7 | x5 >>> 25;
      x2 = x2 + x6 | 0; x14 ^= x2; x14 = x14 << 16 | x14 >>> 16;
      x10 = x10 + x14 | 0; x6 ^= x10; x6 = x6 << 12 | x6 >>> 20;
      x2 = x2 + x6 | 0; x14 ^= x2; x14 = x14 << 8 | x14 >>> 24;
      x10 = x10 + x14 | 0; x6 ^= x10; x6 = x6 << 7 | x6 >>> 25;
      x3 = x3 + x7 | 0; x15 ^= x3; x15 = x15 << 16 | x15 >>> 16;
      x11 = x11 + x15 | 0; x7 ^= x11; x7 = x7 << 12 | x7 >>> 20;
      x3 = x3 + x7 | 0; x15 ^= x3; x15 = x15 << 8 | x15 >>> 24;
      x11 = x11 + x15 | 0; x7 ^= x11; x7 = x7 << 7 | x7 >>> 25;
      x0 = x0 + x5 | 0; x15 ^= x0; x15 = x15 << 16 | x15 >>> 16;
      x10 = x10 + x15 | 0; x5 ^= x10; x5 = x5 << 12 | x5 >>> 20;
      x0 = x0 + x5 | 0; x15 ^= x0; x15 = x15 << 8 | x15 >>> 24;
      x10 = x10 + x15 | 0; x5 ^= x10; x5 = x5 << 7 | x5 >>> 25;
      x1 = x1 + x6 | 0; x12 ^= x1; x12 = x12 << 16 | x12 >>> 16;
      x11 = x11 + x12 | 0; x6 ^= x11; x6 = x6 << 12 | x6 >>> 20;
      x1 = x1 + x6 | 0; x12 ^= x1; x12 = x12 << 8 | x12 >>> 24;
      x11 = x11 + x12 | 0; x6 ^= x11; x6 = x6 << 7 | x6 >>> 25;
      x2 = x2 + x7 | 0; x13 ^= x2; x13 = x13 << 16 | x13 >>> 16;
      x8 = x8 + x13 | 0; x7 ^= x8; x7 = x7 << 12 | x7 >>> 20;
      x2 = x2 + x7 | 0; x13 ^= x2; x13 = x13 << 8 | x13 >>> 24;
      x8 = x8 + x13 | 0; x7 ^= x8; x7 = x7 << 7 | x7 >>> 25;
      x3 = x3 + x4 | 0; x14 ^= x3; x14 = x14 << 16 | x14 >>> 16;
      x9 = x9 + x14 | 0; x4 ^= x9; x4 = x4 << 12 | x4 >>> 20;
      x3 = x3 + x4 | 0; x14 ^= x3; x14 = x14 << 8 | x14 >>> 24;
      x9 = x9 + x14 | 0; x4 ^= x9; x4 = x4 << 7 | x4 >>> 25;
    }
    output[to] = input[from] ^ x0 + s0; output[to + 1] = input[from + 1] ^ x1 + s1;
    output[to + 2] = input[from + 2] ^ x2 + s2; output[to + 3] = input[from + 3] ^ x3 + s3;
    output[to + 4] = input[from + 4] ^ x4 + s4; output[to + 5] = input[from + 5] ^ x5 + s5;
    output[to + 6] = input[from + 6] ^ x6 + s6; output[to + 7] = input[from + 7] ^ x7 + s7;
    output[to + 8] = input[from + 8] ^ x8 + s8; output[to + 9] = input[from + 9] ^ x9 + s9;
    output[to + 10] = input[from + 10] ^ x10 + s10; output[to + 11] = input[from + 11] ^ x11 + s11;
    output[to + 12] = input[from + 12] ^ x12 + s12; output[to + 13] = input[from + 13] ^ x13 + s13;
    output[to + 14] = input[from + 14] ^ x14 + s14; output[to + 15] = input[from + 15] ^ x15 + s15;
  }
  state[12] = s12;
}

// Poly1305 in doubles: six limbs of 22 bits, as D. J. Bernstein's first implementation kept its limbs in floating point
// (cr.yp.to/mac.html). Sums of products stay below 2^53. Adding and taking away 3 * 2^73 rounds to a multiple
// of 2^22, so limbs are signed, and carries need no branch. 2^132 = 20 modulo 2^130 - 5.
const LIMB = 0x400000;
const LOW = 0x3fffff;
const SHIFT = 1 / LIMB;
const ROUNDER = 3 * 2 ** 73;

class Poly1305 {
  constructor() {
    this.h = new Float64Array(6);
    this.key = new Int32Array(8);
  }

  /** Begins a message; `key` is 8 words. */
  begin(key) {
    this.h.fill(0);
    this.key.set(key.subarray(0, 8));
  }

  /** Blocks of 4 words. `top` is the bit above each; 0 for the end of a message that holds that bit itself. */
  blocks(words, from, count, top = 0x40000) {
    const { h, key } = this;
    const k0 = key[0] & 0x0fffffff, k1 = key[1] & 0x0ffffffc, k2 = key[2] & 0x0ffffffc, k3 = key[3] & 0x0ffffffc;
    const r0 = k0 & LOW, r1 = (k0 >>> 22 | k1 << 10) & LOW, r2 = (k1 >>> 12 | k2 << 20) & LOW;
    const r3 = k2 >>> 2 & LOW, r4 = (k2 >>> 24 | k3 << 8) & LOW, r5 = k3 >>> 14;
    const w1 = 20 * r1, w2 = 20 * r2, w3 = 20 * r3, w4 = 20 * r4, w5 = 20 * r5;
    let h0 = h[0], h1 = h[1], h2 = h[2], h3 = h[3], h4 = h[4], h5 = h[5];
    for (const end = from + 4 * count; from < end; from += 4) {
      const m0 = words[from], m1 = words[from + 1], m2 = words[from + 2], m3 = words[from + 3];
      const a0 = h0 + (m0 & LOW), a1 = h1 + ((m0 >>> 22 | m1 << 10) & LOW), a2 = h2 + ((m1 >>> 12 | m2 << 20) & LOW);
      const a3 = h3 + (m2 >>> 2 & LOW), a4 = h4 + ((m2 >>> 24 | m3 << 8) & LOW), a5 = h5 + (m3 >>> 14 | top);
      const d0 = a0 * r0 + a1 * w5 + a2 * w4 + a3 * w3 + a4 * w2 + a5 * w1;
      const d1 = a0 * r1 + a1 * r0 + a2 * w5 + a3 * w4 + a4 * w3 + a5 * w2;
      const d2 = a0 * r2 + a1 * r1 + a2 * r0 + a3 * w5 + a4 * w4 + a5 * w3;
      const d3 = a0 * r3 + a1 * r2 + a2 * r1 + a3 * r0 + a4 * w5 + a5 * w4;
      const d4 = a0 * r4 + a1 * r3 + a2 * r2 + a3 * r1 + a4 * r0 + a5 * w5;
      const d5 = a0 * r5 + a1 * r4 + a2 * r3 + a3 * r2 + a4 * r1 + a5 * r0;
      let c0 = d0 + ROUNDER - ROUNDER, c1 = d1 + ROUNDER - ROUNDER, c2 = d2 + ROUNDER - ROUNDER;
      let c3 = d3 + ROUNDER - ROUNDER, c4 = d4 + ROUNDER - ROUNDER, c5 = d5 + ROUNDER - ROUNDER;
      h0 = d0 - c0 + c5 * (20 * SHIFT), h1 = d1 - c1 + c0 * SHIFT, h2 = d2 - c2 + c1 * SHIFT;
      h3 = d3 - c3 + c2 * SHIFT, h4 = d4 - c4 + c3 * SHIFT, h5 = d5 - c5 + c4 * SHIFT;
      c0 = h0 + ROUNDER - ROUNDER, c1 = h1 + ROUNDER - ROUNDER, c2 = h2 + ROUNDER - ROUNDER;
      c3 = h3 + ROUNDER - ROUNDER, c4 = h4 + ROUNDER - ROUNDER, c5 = h5 + ROUNDER - ROUNDER;
      h0 += c5 * (20 * SHIFT) - c0, h1 += c0 * SHIFT - c1, h2 += c1 * SHIFT - c2;
      h3 += c2 * SHIFT - c3, h4 += c3 * SHIFT - c4, h5 += c4 * SHIFT - c5;
    }
    h[0] = h0, h[1] = h1, h[2] = h2, h[3] = h3, h[4] = h4, h[5] = h5;
  }

  /** Puts the 4 words of the tag into `tag`. */
  end(tag) {
    const { h, key } = this;
    // Twice around, limbs are in their bounds, which is below 2^130.
    for (let i = 0; i < 12; i++) {
      const bound = i % 6 < 5 ? LIMB : 0x100000;
      const over = Math.floor(h[i % 6] / bound);
      h[i % 6] -= over * bound;
      h[(i + 1) % 6] += i % 6 < 5 ? over : 5 * over;
    }
    const full = h[0] >= LIMB - 5 && h[1] + h[2] + h[3] + h[4] === 4 * LOW && h[5] === 0xfffff;
    if (full) h.set([h[0] - LIMB + 5, 0, 0, 0, 0, 0]);
    const [h0, h1, h2, h3, h4, h5] = h;
    const sums = [h0 | h1 << 22, h1 >>> 10 | h2 << 12, h2 >>> 20 | h3 << 2 | h4 << 24, h4 >>> 8 | h5 << 14];
    for (let i = 0, over = 0; i < 4; i++) {
      over += (sums[i] >>> 0) + (key[4 + i] >>> 0);
      tag[i] = over;
      over = Math.floor(over / 0x100000000);
    }
  }
}

// ---- sealed records (11.4)

const swap = (word) => word << 24 | (word & 0xff00) << 8 | word >>> 8 & 0xff00 | word >>> 24;
const words = (bytes, count) => new Int32Array(bytes.buffer, bytes.byteOffset, count);
const sealedLength = (length) => length + TAG * Math.max(1, Math.ceil(length / RECORD));

class Cipher {
  constructor(key) {
    this.state = new Int32Array(16);
    this.state.set([0x61707865, 0x3320646e, 0x79622d32, 0x6b206574]);
    this.state.set(words(key.slice(), 8), 4);
    this.poly = new Poly1305();
    this.rest = new Int32Array(16);
    this.tag = new Int32Array(4);
  }

  /** Nonce and associated data of a record; the state is then before the first block of its content. */
  begin(request, record, last) {
    const { state, rest } = this;
    state[12] = 0;
    state[13] = swap(record);
    state[14] = swap(request / 0x100000000 | 0);
    state[15] = swap(request | 0);
    rest.fill(0);
    chacha(state, rest, 0, rest, 0, 1);
    this.poly.begin(rest);
    this.poly.blocks(Int32Array.of(last ? 1 : 0, 0, 0, 0), 0, 1);
  }

  /** Source and target: equally long, at addresses that are multiples of 4. */
  crypt(source, target) {
    const whole = source.length >>> 6;
    chacha(this.state, words(source, 16 * whole), 0, words(target, 16 * whole), 0, whole);
    if (source.length > 64 * whole) {
      const rest = new Uint8Array(this.rest.buffer);
      rest.set(source.subarray(64 * whole));
      chacha(this.state, this.rest, 0, this.rest, 0, 1);
      target.set(rest.subarray(0, source.length - 64 * whole), 64 * whole);
    }
  }

  /** The tag over what was encrypted, as bytes that stay good until the next one. */
  sign(sealed) {
    const { poly, rest } = this;
    const whole = sealed.length >>> 4;
    poly.blocks(words(sealed, 4 * whole), 0, whole);
    if (sealed.length > 16 * whole) {
      rest.fill(0);
      new Uint8Array(rest.buffer).set(sealed.subarray(16 * whole));
      poly.blocks(rest, 0, 1);
    }
    poly.blocks(Int32Array.of(1, 0, sealed.length, 0), 0, 1);
    poly.end(this.tag);
    return new Uint8Array(this.tag.buffer);
  }
}

/** Seals one body into `room`, which is grown if need be. All pushed parts but the last are whole records. */
class Sealer {
  constructor(cipher, request, length, room) {
    const need = sealedLength(length);
    this.cipher = cipher;
    this.request = request;
    this.left = length;
    this.record = 0;
    this.room = room && room.byteLength >= need ? room : new ArrayBuffer(Math.ceil(need / 4) * 4);
    this.out = new Uint8Array(this.room, 0, need);
    this.at = 0;
  }

  push(bytes) {
    let from = 0;
    do {
      const part = bytes.subarray(from, from + RECORD);
      const target = this.out.subarray(this.at, this.at + part.length);
      from += part.length;
      this.left -= part.length;
      this.cipher.begin(this.request, this.record, this.left === 0);
      this.cipher.crypt(part, target);
      this.out.set(this.cipher.sign(target), this.at + part.length);
      this.at += part.length + TAG;
      this.record += 1;
    } while (from < bytes.length);
    return this;
  }
}

/** Opens one body as it comes. Each record is given to `deliver` once it is verified. */
class Opener {
  constructor(cipher, request, deliver) {
    this.cipher = cipher;
    this.request = request;
    this.deliver = deliver;
    this.record = 0;
    this.held = new Uint8Array(RECORD + TAG);
    this.used = 0;
  }

  push(bytes) {
    for (let from = 0; from < bytes.length;) {
      // A full record is the last one if nothing follows: it waits for the next byte, or for the end.
      if (this.used === this.held.length) this.open(false);
      const part = bytes.subarray(from, from + this.held.length - this.used);
      this.held.set(part, this.used);
      this.used += part.length;
      from += part.length;
    }
    return this;
  }

  open(last) {
    const length = this.used - TAG;
    if (length < 0) throw new Fault('network', 'the answer was cut');
    const sealed = this.held.subarray(0, length);
    this.cipher.begin(this.request, this.record, last);
    if (!same(this.cipher.sign(sealed), this.held.subarray(length, this.used))) {
      throw new Fault('network', 'the answer was cut or changed');
    }
    const plain = new Uint8Array(Math.ceil(length / 4) * 4).subarray(0, length);
    this.cipher.crypt(sealed, plain);
    this.deliver(plain);
    this.record += 1;
    this.used = 0;
  }

  end() {
    this.open(true);
  }
}

function openWhole(cipher, request, sealed) {
  const parts = [];
  new Opener(cipher, request, (part) => parts.push(part)).push(sealed).end();
  return concat(...parts);
}

// ---- one session: keys, numbers, requests (11.1 to 11.4)

class Fault extends Error {
  /** `kind`: `network`, `session`, `view`, `code`, `unreadable`, or the host's word for what it did not do. */
  constructor(kind, text, more) {
    super(text);
    this.kind = kind;
    Object.assign(this, more);
  }
}

const derive = (secret, ...info) => hkdf('qrdrop/1 web', secret, concat(...info));

class Link {
  constructor({ origin, host, token, kept }) {
    this.origin = origin;
    this.host = host;
    this.token = token && unhex(token);
    this.id = kept ? kept.id : '';
    this.secret = kept && unhex(kept.secret);
    this.flights = new Set();
  }

  async claim() {
    const p = random(16);
    const key = derive(this.token, 'claim');
    const answer = await this.plain('/claim', { p: hex(p), proof: hex(hmac(key, concat('claim page', p, this.host))) });
    const s = unhex(answer.s);
    const id = unhex(answer.id);
    this.check(answer, hmac(key, concat('claim host', p, s, id)));
    this.id = answer.id;
    this.secret = derive(this.token, 'session', p, s);
    this.look(p, s);
  }

  async open() {
    const p = random(16);
    const id = unhex(this.id);
    const key = derive(this.secret, 'open');
    const proof = hex(hmac(key, concat('open page', p, id)));
    const answer = await this.plain('/open', { id: this.id, p: hex(p), proof });
    const s = unhex(answer.s);
    this.check(answer, hmac(key, concat('open host', p, s, id)));
    this.look(p, s);
  }

  check(answer, proof) {
    if (!same(proof, unhex(answer.proof))) throw new Fault('code', 'the answer comes from somebody else');
  }

  look(p, s) {
    const key = (name) => derive(this.secret, name, p, s);
    const [page, host] = [new Cipher(key('seal page')), new Cipher(key('seal host'))];
    this.view = { s, page, host, next: 0, auth: key('auth page') };
  }

  async plain(target, message) {
    const { status, bytes } = await this.send('POST', target, {}, JSON.stringify(message), 15e3);
    const answer = plainAnswer(bytes);
    if (status === 200 && answer) return answer;
    if (status === 403 && answer) throw new Fault(answer.error, answer.error);
    throw new Fault('network', `status ${status}`);
  }

  /** A request in flight is ended when nothing was heard of it for `patience` milliseconds. */
  send(method, target, headers, body, patience, moved) {
    return new Promise((resolve, reject) => {
      const xhr = new XMLHttpRequest();
      const flight = { alive: Date.now(), patience, abort: () => xhr.abort() };
      const lost = () => reject(new Fault('network', 'no answer'));
      xhr.open(method, this.origin + target);
      xhr.responseType = 'arraybuffer';
      for (const name of Object.keys(headers)) xhr.setRequestHeader(name, headers[name]);
      xhr.onload = () => resolve({ status: xhr.status, bytes: new Uint8Array(xhr.response) });
      xhr.onerror = xhr.onabort = lost;
      xhr.onloadend = () => this.flights.delete(flight);
      if (moved) {
        xhr.upload.onprogress = (event) => {
          flight.alive = Date.now();
          moved(event.loaded, flight);
        };
      }
      this.flights.add(flight);
      xhr.send(body);
    });
  }

  headers(method, target, { view, number }) {
    const mac = hmac(view.auth, concat(`${method} ${target}\n`, view.s, u64(number)));
    return { 'X-Qrdrop': `${this.id}.${number}.${hex(mac)}` };
  }

  seal(bytes) {
    const view = this.view;
    const number = view.next++;
    return { view, number, out: new Sealer(view.page, number, bytes.length).push(bytes).out };
  }

  async exchange(method, target, sealed, patience, moved) {
    const answer = await this.send(method, target, this.headers(method, target, sealed), sealed.out, patience, moved);
    return this.read(answer, sealed);
  }

  read({ status, bytes }, { view, number }) {
    const refusal = status === 403 || status === 409 ? plainAnswer(bytes) : null;
    if (refusal) throw new Fault(refusal.error, refusal.error, { view });
    const answer = JSON.parse(decoder.decode(openWhole(view.host, number, bytes)));
    if (status === 200) return answer;
    throw new Fault(answer.error.code, answer.error.text, { have: answer.have ?? answer.error.have });
  }

  say(verb, message, patience = 15e3) {
    return this.exchange('POST', `/api/${verb}`, this.seal(encoder.encode(JSON.stringify(message))), patience);
  }

  /** The content of a `fetch`, each record as it is verified. */
  async stream(message, deliver) {
    const sealed = this.seal(encoder.encode(JSON.stringify(message)));
    const control = new AbortController();
    const flight = { alive: Date.now(), patience: 20e3, abort: () => control.abort() };
    this.flights.add(flight);
    try {
      const response = await fetch(`${this.origin}/api/fetch`, {
        method: 'POST', headers: this.headers('POST', '/api/fetch', sealed), body: sealed.out, signal: control.signal,
        cache: 'no-store', credentials: 'omit', redirect: 'error',
      });
      if (!response.ok) {
        return this.read({ status: response.status, bytes: new Uint8Array(await response.arrayBuffer()) }, sealed);
      }
      const opener = new Opener(sealed.view.host, sealed.number, deliver);
      const reader = response.body.getReader();
      for (let part; !(part = await reader.read()).done;) {
        flight.alive = Date.now();
        opener.push(part.value);
      }
      return opener.end();
    } catch (error) {
      throw error instanceof Fault ? error : new Fault('network', 'no answer');
    } finally {
      this.flights.delete(flight);
    }
  }

  /** Ends what has been silent for too long: a phone that slept holds connections that nobody answers. */
  sweep() {
    for (const flight of this.flights) if (Date.now() - flight.alive > flight.patience) flight.abort();
  }
}

function plainAnswer(bytes) {
  try {
    return JSON.parse(decoder.decode(bytes));
  } catch (_) {
    return null;
  }
}

// ---- the engine: what is to be sent or fetched, and how far it is

const PIECE_FIRST = 1 << 20;
const PIECE_MOST = 16 << 20;
const READ = 1 << 20;
const SMALL = 1 << 20;
const LANES = 4;
const BIG_LANES = 2;
// Of the 1,024 numbers that a host still takes below the highest (11.3).
const STALE = 800;
const OFFER_ENTRIES = 100000;
const OFFER_BYTES = 900000;
// Of one session at a time; hosts take a few.
const OPEN_MOST = 6;
const UNDER_WAY = ['new', 'asking', 'accepted'];

const sizeOf = (entry) => entry.bytes || 0;
const hasContent = ({ kind }) => kind !== 'folder' && kind !== 'text';

class Engine {
  constructor(tell) {
    this.tell = tell;
    this.state = 'connecting';
    this.status = null;
    this.transfers = [];
    this.picked = [];
    this.piece = PIECE_FIRST;
    this.lanes = 0;
    this.bigLanes = 0;
    this.rooms = [];
    this.resting = new Set();
    this.flown = 0;
    this.marks = [];
    this.changed = true;
    this.items = new Map();
    this.fetching = Promise.resolve();
  }

  // -- what ui.js asks for

  start(message) {
    if (new Uint8Array(Uint32Array.of(1).buffer)[0] !== 1) throw new Error('big-endian');
    this.link = new Link(message);
    this.device = message.device;
    setInterval(() => this.tick(), 250);
    setInterval(() => this.link.sweep(), 1000);
    this.connect();
  }

  handle(message) {
    ({
      start: () => this.start(message),
      add: () => this.add(message),
      wake: () => this.wake(),
      ping: () => this.call('status', { device: this.device }).catch(() => {}),
      takeover: () => this.takeover?.(),
      cancel: () => this.transfers.filter((t) => t.key === message.key).forEach((t) => this.cancel(t)),
      forget: () => this.transfers.filter((t) => t.lost.size).forEach((t) => this.cancel(t)),
      get: () => this.get(this.items.get(message.id)),
      link: () => this.ask(this.items.get(message.id)),
      done: () => this.leave(),
    })[message.do]();
    this.changed = true;
  }

  // -- the connection

  async connect() {
    for (let wait = 500; ; wait = Math.min(8000, 2 * wait)) {
      try {
        if (this.link.token) await this.link.claim();
        else await this.link.open();
        await this.greet();
        return;
      } catch (fault) {
        if (fault.kind === 'code' && this.link.secret) this.link.token = null;
        else if (fault.kind === 'code') return this.become('bad-code');
        else if (fault.kind === 'session' && !this.link.token) return this.become('expired');
        else {
          this.become('gone');
          await this.rest(wait);
        }
      }
    }
  }

  async greet() {
    const status = await this.link.say('status', { device: this.device });
    this.link.token = null;
    this.tell({ is: 'keep', id: this.link.id, secret: hex(this.link.secret) });
    const first = !this.status;
    this.status = status;
    this.become('ready');
    if (!first) return;
    if (status.role === 'outbox') this.list().catch((fault) => this.broken(fault));
    else for (const known of status.transfers) this.adopt(known);
  }

  become(state) {
    this.state = state;
    this.changed = true;
  }

  broken(fault) {
    this.trouble = fault.message;
    this.changed = true;
  }

  wake() {
    this.link.sweep();
    for (const up of this.resting) up();
  }

  /** Waits; less long if something tells that the network may be back. */
  rest(milliseconds) {
    return new Promise((resolve) => {
      const up = () => {
        clearTimeout(timer);
        this.resting.delete(up);
        resolve();
      };
      const timer = setTimeout(up, milliseconds);
      this.resting.add(up);
    });
  }

  async call(verb, message, patience) {
    for (;;) {
      const view = this.link.view;
      try {
        return await this.link.say(verb, message, patience);
      } catch (fault) {
        await this.mend(fault, view);
      }
    }
  }

  /** Comes back when the host answers again. What is no matter of the connection is thrown on. */
  async mend(fault, view) {
    if (!['network', 'session', 'view'].includes(fault.kind)) throw fault;
    if (view !== this.link.view) return;
    this.mending ??= this.heal(fault).finally(() => { this.mending = null; });
    await this.mending;
  }

  async heal(fault) {
    this.piece = PIECE_FIRST;
    for (let wait = 500, opened = false; ;) {
      try {
        if (fault.kind === 'view') {
          this.become('other-tab');
          await new Promise((resolve) => { this.takeover = resolve; });
        }
        if (['session', 'view'].includes(fault.kind)) {
          opened = fault.kind === 'session';
          await this.link.open();
        }
        return await this.greet();
      } catch (next) {
        if (next.kind === 'session' && opened) {
          this.become('expired');
          await new Promise(() => {});
        }
        fault = next;
        if (['session', 'view'].includes(next.kind)) continue;
        this.become(this.busy() ? 'paused' : 'gone');
        await this.rest(wait);
        wait = Math.min(8000, 2 * wait);
      }
    }
  }

  busy() {
    return this.transfers.some((t) => UNDER_WAY.includes(t.state));
  }

  // -- what was chosen

  /** `items` of {blob, path, kind, text}; the last part of one choice says `last`. */
  async add({ items, last }) {
    this.picked.push(...items);
    if (!last) return;
    const picked = this.picked;
    this.picked = [];
    const fresh = await this.match(picked);
    for (let at = 0; at < fresh.length; at += OFFER_ENTRIES) {
      const entries = fresh.slice(at, at + OFFER_ENTRIES).map((item, id) => ({
        id, path: item.path, kind: item.kind, text: item.text, blob: item.blob, have: 0, sent: 0, state: 'waiting',
        bytes: item.kind === 'folder' ? 0 : item.kind === 'text' ? encoder.encode(item.text).length : item.blob.size,
      }));
      this.run(this.enter({ key: hex(random(16)), state: 'new', version: 0 }, entries));
    }
  }

  enter(transfer, entries) {
    if (!this.busy()) this.batch = this.transfers.length;
    const t = Object.assign(transfer, {
      entries, moved: 0, todo: 0, first: 0, left: 0, failed: [], lost: new Set(), queue: [[], []], next: [0, 0],
    });
    let place = 0;
    for (const entry of entries) {
      entry.place = place;
      if (hasContent(entry)) place += 1;
      entry.transfer = t;
      t.todo += sizeOf(entry);
      t.moved += entry.sent;
      if (entry.state === 'failed') t.failed.push(entry);
      if (entry.state !== 'waiting' || !hasContent(entry)) continue;
      t.left += 1;
      if (entry.blob) this.line(entry);
      else t.lost.add(entry);
    }
    this.transfers.push(t);
    this.changed = true;
    return t;
  }

  line(entry) {
    entry.transfer.queue[entry.bytes > SMALL ? 1 : 0].push(entry);
  }

  /** A transfer that this session began before the page was loaded again. */
  async adopt(known) {
    try {
      // Its list was not whole, and is lost.
      if (!known.version) return void await this.call('cancel', { transfer: known.transfer });
      const entries = [];
      for (let total = 1; entries.length < total;) {
        const page = await this.call('files', { transfer: known.transfer, first: entries.length });
        if (!page.files.length) break;
        total = page.total;
        for (const file of page.files) {
          entries.push({ ...file, sent: file.have, blob: file.bytes ? null : new Blob([]) });
        }
      }
      this.run(this.enter({ key: known.transfer, state: known.state, version: known.version }, entries));
    } catch (fault) {
      this.broken(fault);
    }
  }

  /** Finds the files that go on, by content and size; gives those that are new. */
  async match(picked) {
    const lost = new Map();
    for (const t of this.transfers) {
      for (const entry of t.lost) lost.set(entry.bytes, [...lost.get(entry.bytes) || [], entry]);
    }
    const free = new Set(picked);
    const join = (entry, item) => {
      free.delete(item);
      entry.blob = item.blob;
      entry.transfer.lost.delete(entry);
      this.line(entry);
    };
    for (const [bytes, entries] of lost) {
      const items = picked.filter((item) => item.blob && item.blob.size === bytes);
      const begun = entries.filter((entry) => entry.have > 0).sort((a, b) => a.have - b.have);
      for (const item of begun.length ? items : []) await this.digests(item, begun).catch(() => {});
      const tests = [
        (entry, item) => entry.have > 0 && item.digests && item.digests.get(entry.have) === entry.sha256,
        (entry, item) => entry.have === 0 && leaf(entry.path) === leaf(item.path),
        (entry) => entry.have === 0,
      ];
      for (const test of tests) {
        for (const entry of entries.filter((one) => !one.blob)) {
          const fits = items.filter((item) => free.has(item) && test(entry, item));
          if (fits.length) join(entry, fits.find((item) => leaf(item.path) === leaf(entry.path)) || fits[0]);
        }
      }
    }
    this.checking = null;
    this.pump();
    return picked.filter((item) => free.has(item));
  }

  async digests(item, begun) {
    const hash = new Sha256();
    item.digests = new Map();
    for (const { have } of begun) {
      while (hash.length < have) {
        hash.update(await readBlob(item.blob, hash.length, Math.min(have, hash.length + READ)));
        this.checking = { path: item.path, bytes: hash.length, of: have };
        this.changed = true;
      }
      if (!item.digests.has(have)) item.digests.set(have, hex(hash.digest()));
    }
  }

  // -- one transfer, from the question to the last byte

  async run(t) {
    try {
      while (t.state === 'new' && (this.open() >= OPEN_MOST || this.earlier(t, ['new', 'asking']))) {
        await this.rest(300);
      }
      if (t.state === 'new') await this.offer(t);
      while (t.state === 'asking') await this.look(t);
      this.pump();
      while (t.state === 'accepted') {
        // Browsers keep six connections to a host: one waits for the oldest transfer that has something left.
        if (t.left && this.earlier(t, ['accepted'])) await this.rest(1000);
        else await this.look(t);
        if (t.left) await this.rest(1000);
      }
    } catch (fault) {
      this.over(t, 'failed', fault.message);
    }
  }

  open() {
    return this.transfers.filter((t) => t.state === 'asking' || t.state === 'accepted').length;
  }

  earlier(t, states) {
    return this.transfers.find((other) => states.includes(other.state) && (other.left || other === t)) !== t;
  }

  async offer(t) {
    for (let first = 0; first < t.entries.length;) {
      const entries = [];
      for (let bytes = 0; first + entries.length < t.entries.length && bytes < OFFER_BYTES;) {
        const { path, kind, text, blob, bytes: size } = t.entries[first + entries.length];
        entries.push({ path, kind, bytes: size, modified: blob?.lastModified ?? null, text: text ?? null });
        bytes += 3 * path.length + 120 + (text ? 6 * text.length : 0);
      }
      const last = first + entries.length === t.entries.length;
      const answer = await this.call('offer', { transfer: t.key, first, entries, last }, 60e3);
      if (answer.entries <= first) throw new Fault('offer', 'the offer was not understood');
      first = answer.entries;
    }
    if (t.state === 'new') t.state = 'asking';
    this.changed = true;
  }

  async look(t) {
    const seen = await this.call('wait', { transfer: t.key, version: t.version }, 35e3);
    t.version = seen.version;
    if (!UNDER_WAY.includes(t.state)) return;
    if (UNDER_WAY.includes(seen.state)) t.state = seen.state;
    else this.over(t, seen.state, seen.reason);
    this.changed = true;
  }

  over(t, state, reason) {
    if (!UNDER_WAY.includes(t.state)) return;
    t.state = state;
    t.reason = reason;
    t.lost.clear();
    for (const entry of t.entries) {
      if (entry.state === 'stored' || entry.state === 'failed') continue;
      if (state === 'finished') this.stored(entry);
      else this.failed(entry, reason);
      entry.flight?.abort();
    }
    this.pump();
  }

  async cancel(t) {
    const begun = t.state !== 'new';
    this.over(t, 'failed', 'cancelled');
    if (begun) await this.call('cancel', { transfer: t.key }).catch(() => {});
  }

  settle(entry, state) {
    if (hasContent(entry)) entry.transfer.left -= 1;
    entry.state = state;
    entry.blob = null;
    this.changed = true;
  }

  stored(entry, name) {
    entry.name = name;
    this.move(entry, sizeOf(entry));
    this.settle(entry, 'stored');
  }

  failed(entry, reason) {
    entry.reason = reason;
    this.move(entry, 0);
    entry.transfer.todo -= sizeOf(entry);
    entry.transfer.failed.push(entry);
    this.settle(entry, 'failed');
  }

  move(entry, sent) {
    entry.transfer.moved += sent - entry.sent;
    entry.sent = sent;
    this.changed = true;
  }

  // -- lanes: two for large files, up to four together with small ones

  pump() {
    for (let entry; this.lanes < LANES && (entry = this.take());) {
      const big = entry.bytes > SMALL ? 1 : 0;
      this.lanes += 1;
      this.bigLanes += big;
      this.deliver(entry).finally(() => {
        this.lanes -= 1;
        this.bigLanes -= big;
        this.pump();
      });
    }
  }

  take() {
    for (const t of this.transfers) {
      if (t.state !== 'accepted') continue;
      const heads = t.queue.map((queue, size) => {
        while (t.next[size] < queue.length && queue[t.next[size]].state !== 'waiting') t.next[size] += 1;
        return size && this.bigLanes === BIG_LANES ? undefined : queue[t.next[size]];
      });
      const entry = heads.filter(Boolean).sort((a, b) => a.id - b.id)[0];
      if (!entry) continue;
      entry.state = 'sending';
      return entry;
    }
    return null;
  }

  async deliver(entry) {
    const lane = { room: this.rooms.pop() };
    const t = entry.transfer;
    const going = () => entry.state === 'sending' && t.state === 'accepted';
    const prepare = (at) => this.prepare(entry, at, lane).catch((fault) => ({ fault }));
    let ahead = null;
    for (let tries = 0; going();) {
      const view = this.link.view;
      try {
        let piece = await ahead;
        ahead = null;
        const { view: now } = this.link;
        if (piece?.at !== entry.have || piece.view !== now || now.next - piece.number > STALE) {
          piece = await prepare(entry.have);
        }
        if (piece.fault) throw piece.fault;
        if (!going()) break;
        const answer = this.put(entry, piece);
        // The request holds a copy of its body by now, so the room is free for the next piece.
        if (piece.end < entry.bytes) ahead = prepare(piece.end);
        const { have, stored } = await answer;
        tries = 0;
        entry.have = have;
        if (stored) this.stored(entry, stored.name);
        else if (have >= entry.bytes) {
          await this.rest(500);
          await this.askHost(entry);
        }
      } catch (fault) {
        await ahead;
        ahead = null;
        if (!going()) break;
        if (fault.kind === 'unreadable') this.withdraw(entry, fault);
        else if (fault.kind === 'offset' && fault.have <= entry.bytes && ++tries < 5) entry.have = fault.have;
        else await this.recover(entry, fault, view, ++tries);
      }
    }
    if (lane.room) this.rooms.push(lane.room);
  }

  /** After a failed request: what has the host? */
  async recover(entry, fault, view, tries) {
    try {
      const lost = ['network', 'session', 'view'].includes(fault.kind);
      if (lost) await this.mend(fault, view);
      else await this.rest(500 * tries);
      if (entry.state !== 'sending') return;
      await this.askHost(entry);
      if (!lost && tries >= 3 && entry.state === 'sending') throw fault;
    } catch (last) {
      if (entry.state === 'sending') this.withdraw(entry, last);
    }
  }

  withdraw(entry, { message }) {
    this.failed(entry, message);
    this.call('withdraw', { transfer: entry.transfer.key, id: entry.id, reason: message }).catch(() => {});
  }

  async askHost(entry) {
    const { files } = await this.call('files', { transfer: entry.transfer.key, first: entry.place });
    const seen = files.find((file) => file.id === entry.id);
    if (!seen || entry.state !== 'sending') return;
    if (seen.state === 'stored') this.stored(entry, seen.name);
    else if (seen.state === 'failed') this.failed(entry, seen.reason || 'not stored');
    else {
      entry.have = seen.have;
      this.move(entry, seen.have);
    }
  }

  /** Reads and seals the next piece, a part at a time so that other messages get their turn. */
  async prepare(entry, at, lane) {
    const end = Math.min(entry.bytes, at + this.piece);
    const view = this.link.view;
    const number = view.next++;
    const sealer = new Sealer(view.page, number, end - at, lane.room);
    lane.room = sealer.room;
    let reading = readBlob(entry.blob, at, Math.min(end, at + READ));
    for (let from = at; ; from += READ) {
      const part = await reading;
      const more = from + READ < end;
      if (more) reading = readBlob(entry.blob, from + READ, Math.min(end, from + 2 * READ));
      sealer.push(part);
      if (!more) break;
    }
    return { at, end, view, number, out: sealer.out };
  }

  async put(entry, piece) {
    const began = Date.now();
    const size = piece.end - piece.at;
    const target = `/api/data/${entry.transfer.key}/${entry.id}/${piece.at}`;
    let seen = 0;
    const moved = (loaded, flight) => {
      entry.flight = flight;
      const now = Math.round(size * Math.min(1, loaded / piece.out.length));
      this.flown += now - seen;
      seen = now;
      if (entry.state === 'sending') this.move(entry, piece.at + now);
      // All of it is out: what is left is the host's disk.
      if (loaded >= piece.out.length) flight.patience = 120e3;
    };
    const answer = await this.link.exchange('PUT', target, piece, 20e3, moved);
    if (size === this.piece && Date.now() - began < 1000) this.piece = Math.min(PIECE_MOST, 2 * this.piece);
    this.flown += size - seen;
    if (entry.state === 'sending') this.move(entry, piece.end);
    return answer;
  }

  // -- an outbox

  async list() {
    for (let total = 1; this.items.size < total;) {
      const page = await this.call('list', { first: this.items.size });
      if (!page.entries.length) break;
      total = page.total;
      for (const entry of page.entries) this.items.set(entry.id, { ...entry, state: '', have: 0 });
      this.changed = true;
    }
    this.items.set('all', { id: 'all', path: 'qrdrop.zip', bytes: this.status.bytes, state: '', have: 0 });
    this.changed = true;
  }

  get(item) {
    item.state = 'queued';
    this.fetching = this.fetching.then(() => this.download(item)).catch((fault) => {
      item.state = 'failed';
      item.reason = fault.message;
      this.changed = true;
    });
  }

  async download(item) {
    const zip = item.id === 'all';
    let parts = [];
    item.have = 0;
    item.state = 'getting';
    const take = (part) => {
      parts.push(part);
      item.have += part.length;
      this.flown += part.length;
      this.changed = true;
      // Into a blob from time to time: those may live on disk.
      if (parts.length >= 256) parts = [new Blob(parts)];
    };
    for (;;) {
      const view = this.link.view;
      try {
        await this.link.stream(zip ? { zip: true } : { id: item.id, offset: item.have }, take);
        break;
      } catch (fault) {
        await this.mend(fault, view);
        if (zip) {
          parts = [];
          item.have = 0;
        }
      }
    }
    if (!zip && item.have !== item.bytes) throw new Fault('size', 'the file changed');
    item.state = 'saved';
    const blob = new Blob(parts, { type: 'application/octet-stream' });
    this.tell({ is: 'save', id: item.id, path: item.path, blob });
    const ids = zip ? [...this.items.keys()].filter((id) => id !== 'all') : [item.id];
    for (let at = 0; at < ids.length; at += 5000) await this.call('got', { ids: ids.slice(at, at + 5000) });
  }

  async ask(item) {
    try {
      for (;;) {
        const answer = await this.call('link', item.id === 'all' ? { zip: true } : { id: item.id });
        item.state = answer.path ? 'linked' : answer.state;
        this.changed = true;
        if (answer.path) this.tell({ is: 'link', id: item.id, path: answer.path });
        if (item.state !== 'asking') return;
        await this.rest(1500);
      }
    } catch (fault) {
      item.state = 'failed';
      item.reason = fault.message;
      this.changed = true;
    }
  }

  async leave() {
    await this.call('done', {}).catch(() => {});
    this.become('done');
  }

  // -- what ui.js is told: all there is to show, at most four times a second

  tick() {
    const moving = this.lanes > 0 || [...this.items.values()].some((item) => item.state === 'getting');
    if (!this.changed && !moving) return;
    this.changed = false;
    const now = Date.now();
    this.marks.push([now, this.flown]);
    while (this.marks.length > 2 && now - this.marks[0][0] > 4000) this.marks.shift();
    const [since, flown] = this.marks[0];
    if (!moving) this.marks = [];
    const batch = this.transfers.slice(this.batch);
    const total = { bytes: 0, sent: 0, rate: now > since ? 1000 * (this.flown - flown) / (now - since) : 0 };
    for (const t of batch) {
      if (t.state === 'refused') continue;
      total.bytes += t.todo;
      total.sent += t.moved;
    }
    const { state, status, checking, trouble } = this;
    this.tell({
      is: 'view', state, status, checking, trouble, total,
      again: this.transfers.reduce((sum, t) => sum + t.lost.size, 0),
      transfers: this.transfers.map(summary),
      items: [...this.items.values()].slice(0, 500),
      count: this.items.size,
      all: this.items.get('all'),
    });
  }
}

const leaf = (path) => path.slice(path.lastIndexOf('/') + 1);

async function readBlob(blob, from, to) {
  const bytes = await blob.slice(from, to).arrayBuffer().catch(() => null);
  if (!bytes || bytes.byteLength !== to - from) throw new Fault('unreadable', 'this file can no longer be read here');
  return new Uint8Array(bytes);
}

const ROWS = 60;

/** The part of a transfer that a page shows: of a long one what failed, and what is next. */
function summary(t) {
  const { entries, failed } = t;
  while (t.first < entries.length && ['stored', 'failed'].includes(entries[t.first].state)) t.first += 1;
  let shown = entries;
  if (entries.length > ROWS) {
    const from = Math.max(0, Math.min(t.first - 3, entries.length - ROWS));
    const near = entries.slice(from, from + ROWS);
    shown = [...failed.slice(0, ROWS).filter((entry) => !near.includes(entry)), ...near];
  }
  return {
    key: t.key, state: t.state, reason: t.reason, bytes: t.todo, sent: t.moved, files: entries.length,
    failed: failed.length, left: t.left, lost: t.lost.size, more: entries.length - shown.length,
    rows: shown.map((entry) => {
      const { id, path, kind, bytes, sent, state, name, reason, text } = entry;
      return { id, path, kind, bytes, sent, state, name, reason, text, lost: t.lost.has(entry) };
    }),
  };
}

/** An engine behind messages: gives the function that takes them. */
function startEngine(tell) {
  const engine = new Engine(tell);
  return (message) => engine.handle(message);
}

if (typeof document === 'undefined') {
  const take = startEngine((message) => self.postMessage(message));
  self.onmessage = (event) => take(event.data);
  self.addEventListener('securitypolicyviolation', () => self.postMessage({ is: 'blocked' }));
  self.postMessage({ is: 'hello' });
}
