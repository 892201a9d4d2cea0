'use strict';
// The engine of the page (docs/protocol.md, section 11): the text of a worker, without a DOM. On plain http there is no
// crypto.subtle: hence the first half.

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

// ---- one session: keys, numbers, requests (11.1 to 11.4)

class Fault extends Error {
	/** `kind`: `network`, `session`, `view`, `code`, `unreadable`, or the host's word for what it did not do. */
	constructor(kind, text, more) {
		super(text);
		Object.assign(this, more, { kind });
	}
}

const LOST = ['network', 'session', 'view'];
const derive = (secret, ...info) => hkdf('qrdrop/1 web', secret, concat(...info));
const flights = new Set();
let session = null;
let view = null;

/** A claim while there is a token; else a new view of the session (11.2). */
async function meet() {
	const { token, host } = session;
	const p = random(16);
	const word = token ? 'claim' : 'open';
	const key = derive(token || session.secret, word);
	const proof = hex(hmac(key, `${word} page`, p, token ? host : unhex(session.id)));
	const body = JSON.stringify({ id: token ? undefined : session.id, p: hex(p), proof });
	const { status, bytes } = await send('POST', `/${word}`, {}, body, 15e3);
	const answer = parsed(bytes);
	if (status === 403 && answer) throw new Fault(answer.error, answer.error);
	if (status !== 200 || !answer) throw new Fault('network', `status ${status}`);
	const s = unhex(answer.s);
	const id = answer.id || session.id;
	if (!same(hmac(key, `${word} host`, p, s, unhex(id)), unhex(answer.proof))) {
		throw new Fault('code', 'the answer comes from somebody else');
	}
	session.id = id;
	if (token) session.secret = derive(token, 'session', p, s);
	const own = (name) => derive(session.secret, name, p, s);
	const [page, given] = ['seal page', 'seal host'].map((name) => new Cipher(own(name)));
	view = { s, page, host: given, next: 0, auth: own('auth page') };
}

/** A request in flight is ended when nothing was heard of it for `patience` milliseconds. */
function send(method, target, headers, body, patience, moved) {
	return new Promise((resolve, reject) => {
		const xhr = new XMLHttpRequest();
		const flight = { alive: Date.now(), patience, abort: () => xhr.abort() };
		xhr.open(method, session.origin + target);
		xhr.responseType = 'arraybuffer';
		for (const name in headers) xhr.setRequestHeader(name, headers[name]);
		xhr.onload = () => resolve({ status: xhr.status, bytes: new Uint8Array(xhr.response) });
		xhr.onerror = xhr.onabort = () => reject(new Fault('network', 'no answer'));
		xhr.onloadend = () => flights.delete(flight);
		if (moved) {
			xhr.upload.onprogress = ({ loaded }) => {
				flight.alive = Date.now();
				moved(loaded, flight);
			};
		}
		flights.add(flight);
		xhr.send(body);
	});
}

function signed(method, target, { view: { auth, s }, number }) {
	const mac = hmac(auth, `${method} ${target}\n`, s, u64(number));
	return { 'X-Qrdrop': `${session.id}.${number}.${hex(mac)}` };
}

function seal(message) {
	const bytes = encoder.encode(JSON.stringify(message));
	const number = view.next++;
	return { view, number, out: new Sealer(view.page, number, bytes.length).push(bytes).out };
}

async function exchange(method, target, sealed, patience, moved) {
	return read(await send(method, target, signed(method, target, sealed), sealed.out, patience, moved), sealed);
}

function read({ status, bytes }, sealed) {
	const refusal = status === 403 || status === 409 ? parsed(bytes) : null;
	if (refusal) throw new Fault(refusal.error, refusal.error);
	const answer = parsed(openWhole(sealed.view.host, sealed.number, bytes));
	if (status === 200) return answer;
	throw new Fault(answer.error.code, answer.error.text, { have: answer.have ?? answer.error.have });
}

const say = (verb, message, patience = 15e3) => exchange('POST', `/api/${verb}`, seal(message), patience);

/** The content of a `fetch`, each record as it is verified. */
async function stream(message, deliver) {
	const sealed = seal(message);
	const control = new AbortController();
	const flight = { alive: Date.now(), patience: 20e3, abort: () => control.abort() };
	flights.add(flight);
	try {
		const response = await fetch(`${session.origin}/api/fetch`, {
			method: 'POST', headers: signed('POST', '/api/fetch', sealed), body: sealed.out, signal: control.signal,
			cache: 'no-store', credentials: 'omit', redirect: 'error',
		});
		if (!response.ok) read({ status: response.status, bytes: new Uint8Array(await response.arrayBuffer()) }, sealed);
		const opener = new Opener(sealed.view.host, sealed.number, deliver);
		const reader = response.body.getReader();
		for (let part; !(part = await reader.read()).done;) {
			flight.alive = Date.now();
			opener.push(part.value);
		}
		opener.end();
	} catch (error) {
		throw error instanceof Fault ? error : new Fault('network', 'no answer');
	} finally {
		flights.delete(flight);
	}
}

/** A phone that slept holds connections that nobody answers. */
function sweep() {
	for (const flight of flights) if (Date.now() - flight.alive > flight.patience) flight.abort();
}

function parsed(bytes) {
	try {
		return JSON.parse(decoder.decode(bytes));
	} catch (_) {
		return null;
	}
}

// ---- the engine: what is to be sent or fetched, and how far it is

const MIB = 1 << 20;
const PIECE_MOST = 16 * MIB;
const LANES = 4;
const BIG_LANES = 2;
// Of the 1,024 numbers that a host still takes below the highest (11.3).
const STALE = 800;
const OFFER_ENTRIES = 100000;
const OFFER_BYTES = 900000;
// Of one session at a time; hosts take a few.
const OPEN_MOST = 6;
// Of a transfer, and of an outbox.
const ROWS = 60;
const ROWS_GOT = 500;

const underWay = ({ state }) => ['new', 'asking', 'accepted'].includes(state);
const settled = ({ state }) => state === 'stored' || state === 'failed';
const hasContent = ({ kind }) => kind !== 'folder' && kind !== 'text';
const leaf = ({ path }) => path.slice(path.lastIndexOf('/') + 1);
const busy = () => transfers.some(underWay);

const transfers = [];
const picked = [];
const resting = new Set();
const rooms = [];
const items = new Map();
const tell = (message) => self.postMessage(message);
let state = 'connecting';
let known = null;
let trouble = '';
let checking = '';
let takeover = null;
let mending = null;
let batch = 0;
let piece = MIB;
let lanes = 0;
let bigLanes = 0;
let fetching = Promise.resolve();
let told = '';

// -- what ui.js asks for

const ORDERS = {
	start: ({ origin, host, token, kept, own, device }) => {
		const { id, secret } = kept || {};
		session = { origin, host, device, token, id, secret: secret && unhex(secret), own: own && Uint8Array.from(own) };
		setInterval(tick, 250);
		setInterval(sweep, 1000);
		heal('session');
	},
	add,
	wake,
	takeover: () => takeover?.(),
	cancel: ({ key }) => transfers.filter((t) => t.key === key).forEach(cancel),
	forget: () => transfers.filter((t) => t.lost.size).forEach(cancel),
	get: ({ id }) => get(items.get(id)),
	link: ({ id }) => ask(items.get(id)),
	done: async () => {
		await call('done', {}).catch(() => {});
		state = 'done';
	},
};

// -- the connection

/** Comes back when the host answers (again), with a new view if the old one is not taken any more. */
async function heal(kind) {
	piece = MIB;
	for (let wait = 500, renewed = false; ;) {
		try {
			if (kind === 'view') {
				state = 'other-tab';
				await new Promise((resolve) => { takeover = resolve; });
			}
			if (kind !== 'network' || !view) {
				renewed = true;
				await meet();
			}
			return await greet();
		} catch (fault) {
			({ kind } = fault);
			if (kind === 'code' && session.token && session.secret) session.token = null;
			else if (kind === 'code' || kind === 'session' && renewed && !session.token) {
				state = kind === 'code' ? 'bad-code' : 'expired';
				await new Promise(() => {});
			} else if (kind !== 'view' && (kind !== 'session' || renewed)) {
				// What has arrived stays so when the host leaves.
				if (busy()) state = 'paused';
				else if (!transfers.length) state = 'gone';
				await rest(wait);
				wait = Math.min(8000, 2 * wait);
			}
		}
	}
}

async function greet() {
	const status = await say('status', { device: session.device });
	const first = !known;
	known = status;
	state = 'ready';
	session.token = null;
	tell({ is: 'keep', id: session.id, secret: hex(session.secret) });
	const broken = (fault) => { trouble = fault.message; };
	if (first && known.role === 'outbox') list().catch(broken);
	else if (first) for (const transfer of known.transfers) adopt(transfer).catch(broken);
}

function wake() {
	sweep();
	for (const up of resting) up();
}

/** Waits; less long if something tells that the network may be back. */
function rest(milliseconds) {
	return new Promise((resolve) => {
		const up = () => {
			clearTimeout(timer);
			resting.delete(up);
			resolve();
		};
		const timer = setTimeout(up, milliseconds);
		resting.add(up);
	});
}

async function call(verb, message, patience, wanted = () => true) {
	for (;;) {
		const mine = view;
		try {
			return await say(verb, message, patience);
		} catch (fault) {
			if (!wanted()) throw fault;
			await mend(fault, mine);
		}
	}
}

/** All entries of a list that comes in pages. */
async function pages(verb, message, field) {
	const all = [];
	for (let total = 1; all.length < total;) {
		const page = await call(verb, { ...message, first: all.length });
		if (!page[field].length) break;
		total = page.total;
		all.push(...page[field]);
	}
	return all;
}

/** Comes back when the host answers again. What is no matter of the connection is thrown on. */
async function mend(fault, old) {
	if (!LOST.includes(fault.kind)) throw fault;
	if (view !== old) return;
	mending ??= heal(fault.kind).finally(() => { mending = null; });
	await mending;
}

// -- what was chosen

/** `items` of {blob, path, kind, text}; the last part of one choice says `last`. */
async function add({ items: chosen, last }) {
	picked.push(...chosen);
	if (!last) return;
	wake();
	const fresh = await match(picked.splice(0));
	for (let at = 0; at < fresh.length; at += OFFER_ENTRIES) {
		const entries = fresh.slice(at, at + OFFER_ENTRIES).map(({ path, kind, text, blob }, id) => ({
			id, path, kind, text, blob, have: 0, state: 'waiting',
			bytes: blob ? blob.size : text ? encoder.encode(text).length : 0,
		}));
		enter({ key: hex(random(16)), state: 'new', version: 0 }, entries);
	}
}

function enter(transfer, entries) {
	if (!busy()) batch = transfers.length;
	const t = {
		...transfer, entries, moved: 0, todo: 0, left: 0, failed: [], queue: [], first: 0,
		// Of a transfer of before a reload: what has to be chosen again, and what needs not to be.
		lost: new Set(), past: new Set(),
	};
	let place = 0;
	for (const entry of entries) {
		Object.assign(entry, { place, transfer: t, sent: entry.have });
		if (hasContent(entry)) place += 1;
		t.todo += entry.bytes;
		t.moved += entry.sent;
		if (entry.state === 'failed') t.failed.push(entry);
		if (entry.sha256 && (entry.blob || entry.state === 'stored')) t.past.add(entry);
		if (entry.state !== 'waiting' || !hasContent(entry)) continue;
		t.left += 1;
		if (entry.blob) t.queue.push(entry);
		else t.lost.add(entry);
	}
	t.queue.reverse();
	transfers.push(t);
	run(t);
}

/** A transfer that this session began before the page was loaded again. */
async function adopt({ transfer, state: now, version }) {
	// Its list was not whole, and is lost.
	if (!version) return void await call('cancel', { transfer });
	const files = await pages('files', { transfer }, 'files');
	for (const file of files) file.blob = file.bytes ? null : new Blob([]);
	enter({ key: transfer, state: now, version }, files);
}

/** Finds the files that go on or have arrived, by content and size; gives those that are new. */
async function match(chosen) {
	const free = new Set(chosen);
	const bySize = new Map();
	for (const entry of transfers.flatMap((t) => [...t.lost, ...t.past])) {
		bySize.set(entry.bytes, [...bySize.get(entry.bytes) || [], entry]);
	}
	const begun = (entry) => entry.have > 0 || entry.transfer.past.has(entry);
	const tests = [
		(entry, item) => begun(entry) && item.digests?.get(entry.have) === entry.sha256,
		(entry, item) => !begun(entry) && leaf(entry) === leaf(item),
		(entry) => !begun(entry),
	];
	for (const [bytes, entries] of bySize) {
		const alike = chosen.filter((item) => item.blob?.size === bytes);
		const lengths = entries.filter(begun).map((entry) => entry.have).sort((a, b) => a - b);
		for (const item of lengths.length ? alike : []) await digest(item, lengths).catch(() => {});
		for (const test of tests) {
			for (const entry of entries) {
				const { lost, past, queue } = entry.transfer;
				const fits = alike.filter((item) => free.has(item) && test(entry, item));
				if (!fits.length || !lost.has(entry) && !past.has(entry)) continue;
				const item = fits.find((one) => leaf(one) === leaf(entry)) || fits[0];
				free.delete(item);
				if (past.delete(entry)) continue;
				lost.delete(entry);
				entry.blob = item.blob;
				queue.unshift(entry);
			}
		}
	}
	checking = '';
	pump();
	return [...free];
}

async function digest(item, lengths) {
	const hash = new Sha256();
	item.digests = new Map();
	checking = item.path;
	for (const have of lengths) {
		while (hash.length < have) hash.update(await readBlob(item.blob, hash.length, Math.min(have, hash.length + MIB)));
		item.digests.set(have, hex(hash.digest()));
	}
}

// -- one transfer, from the question to the last byte

async function run(t) {
	const first = (...states) => transfers.find((one) => states.includes(one.state) && (one.left || one === t)) === t;
	const open = () => transfers.filter((one) => one.state !== 'new' && underWay(one)).length;
	try {
		while (t.state === 'new' && (open() >= OPEN_MOST || !first('new', 'asking'))) await rest(300);
		if (t.state === 'new') await offer(t);
		while (t.state === 'asking') await look(t);
		pump();
		while (t.state === 'accepted') {
			// Browsers keep six connections to a host: one waits for the oldest transfer that has something left.
			if (!t.left || first('accepted')) await look(t);
			if (t.left) await rest(1000);
		}
	} catch (fault) {
		over(t, 'failed', fault.message);
	}
}

async function offer(t) {
	const list = new Sha256();
	for (let first = 0; first < t.entries.length;) {
		const entries = [];
		for (let bytes = 0; first + entries.length < t.entries.length && bytes < OFFER_BYTES;) {
			const { path, kind, text = null, blob, bytes: size } = t.entries[first + entries.length];
			entries.push({ path, kind, bytes: size, modified: blob?.lastModified ?? null, text });
			bytes += 3 * path.length + 120 + (text ? 6 * text.length : 0);
		}
		const last = first + entries.length === t.entries.length;
		list.update(encoder.encode(JSON.stringify(entries)));
		const resume = last && session.own ? hex(hmac(session.own, list.digest())) : undefined;
		// The same twice at once is two.
		if (!transfers.some((other) => underWay(other) && other.resume === resume)) t.resume = resume;
		const answer = await call('offer', { transfer: t.key, first, entries, last, resume: t.resume }, 60e3);
		if (answer.entries <= first) throw new Fault('offer', 'the offer was not understood');
		first = answer.entries;
	}
	if (t.state === 'new') t.state = 'asking';
}

async function look(t) {
	const seen = await call('wait', { transfer: t.key, version: t.version }, 35e3, () => underWay(t));
	t.version = seen.version;
	if (!underWay(seen)) return over(t, seen.state, seen.reason);
	if (seen.resumed && t.state === 'asking') await compare(t);
	if (underWay(t)) t.state = seen.state;
}

/** Goes on with what an earlier attempt has left there, where it is the same here. */
async function compare(t) {
	const entries = new Map(t.entries.map((entry) => [entry.id, entry]));
	for (const { id, have, sha256 } of await pages('files', { transfer: t.key }, 'files')) {
		const entry = entries.get(id);
		if (!have || entry.state !== 'waiting') continue;
		entry.sha256 = sha256;
		move(entry, entry.have = have);
		// Lost by a reload: it is for `match`.
		if (!entry.blob) continue;
		await digest(entry, [have]).catch(() => {});
		if (entry.digests.get(have) === sha256) continue;
		move(entry, entry.have = 0);
		await call('anew', { transfer: t.key, id });
	}
	checking = '';
}

function over(t, outcome, reason) {
	if (!underWay(t)) return;
	Object.assign(t, { state: outcome, reason });
	t.lost.clear();
	t.past.clear();
	if (state === 'paused' && !busy()) state = 'ready';
	for (const entry of t.entries) {
		if (settled(entry)) continue;
		settle(entry, outcome === 'finished' ? 'stored' : 'failed', { reason });
		entry.flight?.abort();
	}
	pump();
}

function cancel(t) {
	if (t.state !== 'new') call('cancel', { transfer: t.key }).catch(() => {});
	over(t, 'failed', 'cancelled');
}

/** The outcome of an entry, `stored` or `failed`. */
function settle(entry, outcome, more) {
	const t = entry.transfer;
	move(entry, outcome === 'stored' ? entry.bytes : 0);
	Object.assign(entry, more, { state: outcome, blob: null });
	if (outcome === 'failed') {
		t.todo -= entry.bytes;
		t.failed.push(entry);
	}
	if (!hasContent(entry)) return;
	t.left -= 1;
	// A host may leave with the last file: then nobody answers `wait`.
	if (!t.left && t.entries.every(hasContent)) over(t, 'finished');
}

function move(entry, sent) {
	entry.transfer.moved += sent - entry.sent;
	entry.sent = sent;
}

// -- lanes: two for large files, up to four together with small ones

function pump() {
	for (const t of transfers.filter((one) => one.state === 'accepted')) {
		while (lanes < LANES && t.queue.length) {
			const entry = t.queue.pop();
			const big = entry.bytes > MIB ? 1 : 0;
			if (entry.state !== 'waiting') continue;
			if (big && bigLanes === BIG_LANES) {
				t.queue.push(entry);
				break;
			}
			entry.state = 'sending';
			lanes += 1;
			bigLanes += big;
			deliver(entry).finally(() => {
				lanes -= 1;
				bigLanes -= big;
				pump();
			});
		}
	}
}

async function deliver(entry) {
	const lane = { room: rooms.pop() };
	const going = () => entry.state === 'sending' && entry.transfer.state === 'accepted';
	const prepared = (at) => prepare(entry, at, lane).catch((fault) => ({ fault }));
	let ahead = null;
	for (let tries = 0; going();) {
		const mine = view;
		try {
			let next = await ahead;
			ahead = null;
			if (next?.at !== entry.have || next.view !== view || view.next - next.number > STALE) {
				next = await prepared(entry.have);
			}
			if (next.fault) throw next.fault;
			if (!going()) break;
			const answer = put(entry, next);
			// The request holds a copy of its body by now, so the room is free for the next piece.
			if (next.end < entry.bytes) ahead = prepared(next.end);
			const { have, stored } = await answer;
			tries = 0;
			entry.have = have;
			if (stored) settle(entry, 'stored', { name: stored.name });
			else if (have >= entry.bytes) {
				await rest(500);
				await askHost(entry);
			}
		} catch (fault) {
			await ahead;
			ahead = null;
			if (!going()) break;
			if (fault.kind === 'unreadable') withdraw(entry, fault);
			else if (fault.kind === 'offset' && fault.have <= entry.bytes && ++tries < 5) entry.have = fault.have;
			else await recover(entry, fault, mine, ++tries);
		}
	}
	if (lane.room) rooms.push(lane.room);
}

/** After a failed request: what has the host? */
async function recover(entry, fault, mine, tries) {
	try {
		const lost = LOST.includes(fault.kind);
		if (lost) await mend(fault, mine);
		else await rest(500 * tries);
		await askHost(entry);
		if (!lost && tries >= 3) throw fault;
	} catch (last) {
		withdraw(entry, last);
	}
}

function withdraw(entry, { message }) {
	if (entry.state !== 'sending') return;
	settle(entry, 'failed', { reason: message });
	call('withdraw', { transfer: entry.transfer.key, id: entry.id, reason: message }).catch(() => {});
}

async function askHost(entry) {
	if (entry.state !== 'sending') return;
	const { files } = await call('files', { transfer: entry.transfer.key, first: entry.place });
	const seen = files.find((file) => file.id === entry.id);
	if (!seen || entry.state !== 'sending') return;
	if (settled(seen)) settle(entry, seen.state, { name: seen.name, reason: seen.state === 'failed' && 'not stored' });
	else move(entry, entry.have = seen.have);
}

/** Reads and seals the next piece, a part at a time so that other messages get their turn. */
async function prepare(entry, at, lane) {
	const end = Math.min(entry.bytes, at + piece);
	const mine = view;
	const number = view.next++;
	const sealer = new Sealer(view.page, number, end - at, lane.room);
	lane.room = sealer.room;
	const part = (from) => {
		const reading = readBlob(entry.blob, Math.min(from, end), Math.min(from + MIB, end));
		// A failure is met when it is its turn.
		reading.catch(() => {});
		return reading;
	};
	// Each read goes through another process: two are always asked for.
	const reads = [part(at), part(at + MIB)];
	for (let from = at; from === at || from < end; from += MIB) {
		const bytes = await reads.shift();
		reads.push(part(from + 2 * MIB));
		sealer.push(bytes);
	}
	return { at, end, view: mine, number, out: sealer.out };
}

async function put(entry, { at, end, view: mine, number, out }) {
	const began = Date.now();
	const moved = (sent) => { if (entry.state === 'sending') move(entry, at + sent); };
	const target = `/api/data/${entry.transfer.key}/${entry.id}/${at}`;
	const answer = await exchange('PUT', target, { view: mine, number, out }, 20e3, (loaded, flight) => {
		const share = Math.min(1, loaded / out.length);
		entry.flight = flight;
		moved(Math.round((end - at) * share));
		// All of it is out: what is left is the host's disk.
		if (share === 1) flight.patience = 120e3;
	});
	if (end - at === piece && Date.now() - began < 1000) piece = Math.min(PIECE_MOST, 2 * piece);
	moved(end - at);
	return answer;
}

async function readBlob(blob, from, to) {
	const bytes = await blob.slice(from, to).arrayBuffer().catch(() => null);
	if (bytes?.byteLength !== to - from) throw new Fault('unreadable', 'this file can no longer be read here');
	return new Uint8Array(bytes);
}

// -- an outbox

async function list() {
	const entries = await pages('list', {}, 'entries');
	entries.push({ id: 'all', path: 'qrdrop.zip', bytes: known.bytes });
	for (const entry of entries) items.set(entry.id, { ...entry, state: '', sent: 0 });
}

const fail = (item) => ({ message }) => Object.assign(item, { state: 'failed', reason: message });

function get(item) {
	item.state = 'queued';
	fetching = fetching.then(() => download(item)).catch(fail(item));
}

async function download(item) {
	const zip = item.id === 'all';
	let parts = [];
	item.sent = 0;
	item.state = 'getting';
	const take = (part) => {
		parts.push(part);
		item.sent += part.length;
		// Into a blob from time to time: those may live on disk.
		if (parts.length >= 256) parts = [new Blob(parts)];
	};
	for (let whole = false; !whole;) {
		const mine = view;
		try {
			await stream({ offer: item.offer, ...zip ? { zip } : { id: item.id, offset: item.sent } }, take);
			whole = true;
		} catch (fault) {
			await mend(fault, mine);
			if (!zip) continue;
			parts = [];
			item.sent = 0;
		}
	}
	if (!zip && item.sent !== item.bytes) throw new Fault('size', 'the file changed');
	item.state = 'saved';
	tell({ is: 'save', id: item.id, name: leaf(item), blob: new Blob(parts, { type: 'application/octet-stream' }) });
	const ids = zip ? [...items.keys()].filter((id) => id !== 'all') : [item.id];
	for (let at = 0; at < ids.length; at += 5000) await call('got', { offer: item.offer, ids: ids.slice(at, at + 5000) });
}

async function ask(item) {
	const question = item.id === 'all' ? { zip: true } : { id: item.id };
	try {
		do {
			if (item.state === 'asking') await rest(1500);
			const answer = await call('link', question);
			item.state = answer.path ? 'linked' : answer.state;
			if (answer.path) tell({ is: 'link', path: answer.path });
		} while (item.state === 'asking');
	} catch (fault) {
		fail(item)(fault);
	}
}

/** Tells ui.js all there is to show, if that has changed. */
function tick() {
	const total = { bytes: 0, sent: 0 };
	for (const t of transfers.slice(batch)) {
		if (t.state === 'refused') continue;
		total.bytes += t.todo;
		total.sent += t.moved;
	}
	const shown = {
		is: 'view', state, known, checking, trouble, total, transfers: transfers.map(summary),
		items: [...items.values()].slice(0, ROWS_GOT), count: items.size, all: items.get('all'),
	};
	const now = JSON.stringify(shown);
	if (now !== told || lanes) tell(shown);
	told = now;
}

/** The part of a transfer that a page shows: of a long one what failed, and what is next. */
function summary(t) {
	const { key, state: now, reason, entries, failed, left, lost } = t;
	while (t.first < entries.length && settled(entries[t.first])) t.first += 1;
	const from = Math.max(0, Math.min(t.first - 3, entries.length - ROWS));
	const near = entries.slice(from, from + ROWS);
	const rows = [...failed.slice(0, ROWS).filter((entry) => !near.includes(entry)), ...near];
	return {
		key, state: now, reason, left, files: entries.length, failed: failed.length, lost: lost.size,
		more: entries.length - rows.length,
		rows: rows.map((entry) => {
			const { transfer, blob, flight, digests, ...row } = entry;
			return lost.has(entry) ? { ...row, state: 'lost' } : row;
		}),
	};
}

self.onmessage = ({ data }) => ORDERS[data.do](data);
