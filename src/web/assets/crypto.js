'use strict';
// The cryptography of the page (docs/protocol.md, section 11): on plain http there is no crypto.subtle. This and the files of
// the engine are the text of one worker, without a DOM.

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
	const view = new DataView(new ArrayBuffer(8));
	view.setBigUint64(0, BigInt(value));
	return new Uint8Array(view.buffer);
}

function same(a, b) {
	let differs = a.length ^ b.length;
	for (let i = 0; i < a.length; i++) differs |= a[i] ^ b[i];
	return differs === 0;
}

// ---- SHA-256 (FIPS 180-4), HMAC (RFC 2104), HKDF (RFC 5869)

const PRIMES = [];
for (let n = 2; PRIMES.length < 64; n++) if (PRIMES.every((prime) => n % prime)) PRIMES.push(n);
const left = (x, n) => x << n | x >>> 32 - n;
const right = (x, n) => x >>> n | x << 32 - n;
const fraction = (root) => (root - Math.floor(root)) * 0x100000000 | 0;
const START = Int32Array.from(PRIMES.slice(0, 8), (prime) => fraction(Math.sqrt(prime)));
const ROUND = Int32Array.from(PRIMES, (prime) => fraction(Math.cbrt(prime)));
const schedule = new Int32Array(64);

class Sha256 {
	state = START.slice();
	rest = new Uint8Array(64);
	length = 0;

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
		const view = new DataView(bytes.buffer, bytes.byteOffset);
		const w = schedule;
		const h = this.state;
		for (; from < to; from += 64) {
			for (let i = 0; i < 16; i++) w[i] = view.getInt32(from + 4 * i);
			for (let i = 16; i < 64; i++) {
				const x = w[i - 15];
				const y = w[i - 2];
				w[i] = w[i - 16] + w[i - 7] + (right(x, 7) ^ right(x, 18) ^ x >>> 3) + (right(y, 17) ^ right(y, 19) ^ y >>> 10) | 0;
			}
			let a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], k = h[7];
			for (let i = 0; i < 64; i++) {
				const one = k + (right(e, 6) ^ right(e, 11) ^ right(e, 25)) + (g ^ e & (f ^ g)) + ROUND[i] + w[i] | 0;
				const two = (right(a, 2) ^ right(a, 13) ^ right(a, 22)) + (a & b | c & (a | b)) | 0;
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

/** The first 32 bytes. */
const hkdf = (salt, secret, info) => hmac(hmac(bytesOf(salt), secret), info, Uint8Array.of(1));

// ---- ChaCha20-Poly1305 (RFC 8439). Words are little-endian, as they are in the memory of every phone and computer
// that browsers still run on; `start` checks it.

const mixed = new Int32Array(16);

/** ChaCha20 (RFC 8439, 2.4) over `blocks` whole blocks of 16 words; the counter in the state `s` goes on. */
function chacha(s, input, from, output, to, blocks) {
	for (; blocks > 0; blocks--, from += 16, to += 16, s[12]++) {
		let a = s[0], b = s[1], c = s[2], d = s[3], e = s[4], f = s[5], g = s[6], h = s[7],
			i = s[8], j = s[9], k = s[10], l = s[11], m = s[12], n = s[13], o = s[14], p = s[15];
		for (let round = 0; round < 10; round++) {
			a = a + e | 0; m = left(m ^ a, 16); i = i + m | 0; e = left(e ^ i, 12);
			a = a + e | 0; m = left(m ^ a, 8); i = i + m | 0; e = left(e ^ i, 7);
			b = b + f | 0; n = left(n ^ b, 16); j = j + n | 0; f = left(f ^ j, 12);
			b = b + f | 0; n = left(n ^ b, 8); j = j + n | 0; f = left(f ^ j, 7);
			c = c + g | 0; o = left(o ^ c, 16); k = k + o | 0; g = left(g ^ k, 12);
			c = c + g | 0; o = left(o ^ c, 8); k = k + o | 0; g = left(g ^ k, 7);
			d = d + h | 0; p = left(p ^ d, 16); l = l + p | 0; h = left(h ^ l, 12);
			d = d + h | 0; p = left(p ^ d, 8); l = l + p | 0; h = left(h ^ l, 7);
			a = a + f | 0; p = left(p ^ a, 16); k = k + p | 0; f = left(f ^ k, 12);
			a = a + f | 0; p = left(p ^ a, 8); k = k + p | 0; f = left(f ^ k, 7);
			b = b + g | 0; m = left(m ^ b, 16); l = l + m | 0; g = left(g ^ l, 12);
			b = b + g | 0; m = left(m ^ b, 8); l = l + m | 0; g = left(g ^ l, 7);
			c = c + h | 0; n = left(n ^ c, 16); i = i + n | 0; h = left(h ^ i, 12);
			c = c + h | 0; n = left(n ^ c, 8); i = i + n | 0; h = left(h ^ i, 7);
			d = d + e | 0; o = left(o ^ d, 16); j = j + o | 0; e = left(e ^ j, 12);
			d = d + e | 0; o = left(o ^ d, 8); j = j + o | 0; e = left(e ^ j, 7);
		}
		mixed[0] = a; mixed[1] = b; mixed[2] = c; mixed[3] = d; mixed[4] = e; mixed[5] = f; mixed[6] = g; mixed[7] = h;
		mixed[8] = i; mixed[9] = j; mixed[10] = k; mixed[11] = l; mixed[12] = m; mixed[13] = n; mixed[14] = o; mixed[15] = p;
		for (let at = 0; at < 16; at++) output[to + at] = input[from + at] ^ mixed[at] + s[at];
	}
}

// Poly1305 in doubles: six limbs of 22 bits, as D. J. Bernstein's first implementation kept its limbs in floating point
// (cr.yp.to/mac.html). Sums of products stay below 2^53. Adding and taking away 3 * 2^73 rounds to a multiple
// of 2^22, so limbs are signed, and carries need no branch. 2^132 = 20 modulo 2^130 - 5.
const LIMB = 0x400000;
const LOW = 0x3fffff;
const SHIFT = 1 / LIMB;
const ROUNDER = 3 * 2 ** 73;
const PRIME = 2n ** 130n - 5n;
const high = (x) => x + ROUNDER - ROUNDER;

class Poly1305 {
	h = new Float64Array(6);
	key = new Int32Array(8);

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
			let c0 = high(d0), c1 = high(d1), c2 = high(d2), c3 = high(d3), c4 = high(d4), c5 = high(d5);
			h0 = d0 - c0 + c5 * (20 * SHIFT), h1 = d1 - c1 + c0 * SHIFT, h2 = d2 - c2 + c1 * SHIFT;
			h3 = d3 - c3 + c2 * SHIFT, h4 = d4 - c4 + c3 * SHIFT, h5 = d5 - c5 + c4 * SHIFT;
			c0 = high(h0), c1 = high(h1), c2 = high(h2), c3 = high(h3), c4 = high(h4), c5 = high(h5);
			h0 += c5 * (20 * SHIFT) - c0, h1 += c0 * SHIFT - c1, h2 += c1 * SHIFT - c2;
			h3 += c2 * SHIFT - c3, h4 += c3 * SHIFT - c4, h5 += c4 * SHIFT - c5;
		}
		h[0] = h0, h[1] = h1, h[2] = h2, h[3] = h3, h[4] = h4, h[5] = h5;
	}

	/** Puts the 4 words of the tag into `tag`. */
	end(tag) {
		let sum = this.h.reduceRight((high, limb) => high * 0x400000n + BigInt(limb), 0n) % PRIME;
		if (sum < 0) sum += PRIME;
		for (let i = 0; i < 4; i++, sum >>= 32n) {
			sum += BigInt(this.key[4 + i] >>> 0);
			tag[i] = Number(sum & 0xffffffffn);
		}
	}
}

// ---- sealed records (11.4)

const swap = (word) => word << 24 | (word & 0xff00) << 8 | word >>> 8 & 0xff00 | word >>> 24;
const words = (bytes, count) => new Int32Array(bytes.buffer, bytes.byteOffset, count);

class Cipher {
	state = new Int32Array(16);
	poly = new Poly1305();
	rest = new Int32Array(16);
	tag = new Int32Array(4);

	constructor(key) {
		this.state.set([0x61707865, 0x3320646e, 0x79622d32, 0x6b206574]);
		this.state.set(words(key.slice(), 8), 4);
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
		const need = length + TAG * Math.max(1, Math.ceil(length / RECORD));
		this.room = room?.byteLength >= need ? room : new ArrayBuffer(Math.ceil(need / 4) * 4);
		Object.assign(this, { cipher, request, left: length, record: 0, at: 0, out: new Uint8Array(this.room, 0, need) });
	}

	push(bytes) {
		let from = 0;
		do {
			const part = bytes.subarray(from, from + RECORD);
			const target = this.out.subarray(this.at, this.at + part.length);
			from += part.length;
			this.left -= part.length;
			this.cipher.begin(this.request, this.record++, this.left === 0);
			this.cipher.crypt(part, target);
			this.out.set(this.cipher.sign(target), this.at + part.length);
			this.at += part.length + TAG;
		} while (from < bytes.length);
		return this;
	}
}

/** Opens one body as it comes. Each record is given to `deliver` once it is verified. */
class Opener {
	held = new Uint8Array(RECORD + TAG);

	constructor(cipher, request, deliver) {
		Object.assign(this, { cipher, request, deliver, record: 0, used: 0 });
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
		const sealed = this.held.subarray(0, Math.max(0, length));
		this.cipher.begin(this.request, this.record++, last);
		if (length < 0 || !same(this.cipher.sign(sealed), this.held.subarray(length, this.used))) {
			throw new Fault('network', 'the answer was cut or changed');
		}
		const plain = new Uint8Array(Math.ceil(length / 4) * 4).subarray(0, length);
		this.cipher.crypt(sealed, plain);
		this.deliver(plain);
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
