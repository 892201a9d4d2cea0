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
