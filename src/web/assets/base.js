'use strict';
// What every page has: elements, texts that came from strangers, the way to the engine.

// ---- elements

function make(tag, properties, ...children) {
	const element = document.createElement(tag);
	for (const name in properties) {
		if (name in element) element[name] = properties[name];
		else element.setAttribute(name, properties[name]);
	}
	element.append(...children);
	return element;
}

/** Changes a text only if it differs, for the sake of screen readers and selections. */
function say(element, text) {
	if (element.textContent !== text) element.textContent = text;
}

const button = (label, onclick, properties) => make('button', { type: 'button', onclick, ...properties }, label);

function save(properties) {
	const anchor = make('a', properties);
	document.body.append(anchor);
	anchor.click();
	anchor.remove();
}


// ---- texts

// What could turn or hide the end of a name (UAX 9), and what has no shape of its own.
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** Safe to read. */
const inert = (text) => text.slice(0, 4000).replace(HIDDEN, '\ufffd');

function size(bytes) {
	const power = Math.max(0, Math.min(6, Math.floor(Math.log10(bytes || 1) / 3)));
	const value = bytes / 1000 ** power;
	return `${value.toFixed(power && value < 99.5 ? 1 : 0)} ${['', 'k', 'M', 'G', 'T', 'P', 'E'][power]}B`;
}

/** What the terminal calls this device. */
function device() {
	const [is] = navigator.userAgent.match(/iPhone|iPad|Android|CrOS|Mac|Windows|Linux/) || ['Browser'];
	return is === 'Mac' && navigator.maxTouchPoints > 1 ? 'iPad' : { CrOS: 'ChromeOS', Windows: 'Windows PC', Linux: 'Linux PC' }[is] || is;
}

// ---- the engine

const source = new Blob([document.scripts[0].textContent], { type: 'text/javascript' });
const engine = new Worker(URL.createObjectURL(source));
const tell = (order) => engine.postMessage(order);
engine.onmessage = ({ data }) => HEAR[data.is](data);

/** Storage may be forbidden: then a reload needs a new scan, and nothing is known after one. */
function memory(value, where = 'sessionStorage') {
	try {
		const storage = self[where];
		if (value) storage.qrdrop = JSON.stringify(value);
		return JSON.parse(storage.qrdrop || null);
	} catch (_) {
		return null;
	}
}

/** Gives the engine the code of the address, or the session of before a reload; `false`: there is neither. */
function begin() {
	const code = /^#1([\w-]{42}[AEIMQUYcgkosw048])$/.exec(location.hash)?.[1];
	const kept = memory();
	const { origin, host } = location;
	history.replaceState(history.state, '', location.pathname);
	if (!code && !kept) return false;
	const payload = code && atob(code.replace(/-/g, '+').replace(/_/g, '/'));
	const token = payload && Uint8Array.from(payload.slice(0, 16), (byte) => byte.charCodeAt(0));
	// What this browser's transfers are known by here when they are offered again; the host never sees it.
	const own = memory(memory(0, 'localStorage') || [...crypto.getRandomValues(new Uint8Array(32))], 'localStorage');
	tell({ do: 'start', origin, host, token, kept, own, device: device() });
	return true;
}
