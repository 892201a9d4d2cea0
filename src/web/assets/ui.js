// What a person sees and does. Names and texts come from strangers: they are only ever text nodes.
const TEXT = {
	en: {
		to: 'Send to ', from: 'From ', into: 'into ', key: 'key ',
		private: 'Private: nobody who listens on this Wi-Fi can read this. It does not protect against someone who can tamper with the Wi-Fi.',
		files: 'Send photos or files', slim: 'Smaller photos', camera: 'Camera', folder: 'Folder', text: 'Text or link', sendText: 'Send text',
		again: 'Choose the same files again', forget: 'Give them up', cancel: 'Cancel', here: 'Use it here',
		list: 'Files', total: 'Total', copy: 'Copy', copied: 'Copied', done: 'Done', all: 'Download all (zip)',
		get: 'Download', open: 'Download unencrypted', save: 'Save again', retry: 'Try again',
		more: (n) => `and ${n} more`, as: (name) => `as ${name}`, of: (a, b) => `${a} of ${b}`,
		count: (n) => n === 1 ? '1 file' : `${n} files`, left: (n, unit) => `${n} ${unit} left`,
		checking: 'Looking for where to go on',
		state: {
			connecting: ['Connecting…'],
			ready: ['Ready', 'Choose photos, videos, files, a folder, or type a text.'],
			waiting: ['Waiting for a yes at the computer', 'Someone there has to accept.'],
			sending: ['Sending', 'Keep this page open. After the screen was locked, it goes on.'],
			paused: ['Paused: no connection', 'It goes on by itself. Is this device on the same Wi-Fi, and the receiver still running?'],
			done: ['Everything arrived', 'Stored and checked on the computer.'],
			refused: ['The computer said no', 'Nothing was stored.'],
			failed: ['Not everything arrived', 'See below what happened.'],
			again: ['Choose the same files again to go on', 'This page was loaded again. What has arrived is kept.'],
			gone: ['The computer can’t be reached', 'Is this device on the same Wi-Fi, and the receiver still running? This page keeps trying.'],
			expired: ['The computer has ended this session', 'Scan the code on its screen, and choose the same files to go on.'],
			'needs-code': ['This page needs the code from the screen', 'Scan it with your phone’s camera app. Some scanner apps lose the last part of the address.'],
			'bad-code': ['This code is no longer valid', 'Scan the one on the screen now.'],
			'other-tab': ['Open in another tab', 'This session goes on there.'],
			outbox: ['Ready to download'],
			over: ['Done', 'You can close this page.'],
		},
		is: {
			new: 'to be offered', accepted: 'accepted', waiting: 'waiting', queued: 'waiting', asking: 'waiting for a yes at the computer',
			refused: 'the computer said no', finished: 'stored and checked', stored: 'stored and checked', failed: 'not complete',
			lost: 'choose it again', saved: 'downloaded and checked', linked: 'your browser is downloading it', folder: 'folder',
		},
		failed: 'failed',
		large: (size) => `Larger than ${size}: this page can’t decrypt it in memory. It would cross the Wi-Fi unencrypted, if someone at the computer agrees. Or start qrdrop there with --https.`,
	},
};
const words = TEXT[navigator.language.slice(0, 2)] || TEXT.en;
const ICONS = {
	up: 'M12 19V6m-6 6 6-6 6 6', down: 'M12 5v13m-6-6 6 6 6-6', check: 'm5 13 5 5 9-11', cross: 'M6 6l12 12M18 6 6 18',
	wait: 'M12 7v5l3 2M12 3a9 9 0 1 0 0 18 9 9 0 1 0 0-18', pause: 'M9 6v12M15 6v12', alert: 'M12 8v5m0 3v.01M12 3 2.5 20h19z',
	lock: 'M7 11V8a5 5 0 0 1 10 0v3M5 11h14v9H5z', file: 'M6 3h8l4 4v14H6zM14 3v4h4', folder: 'M3 6h7l2 3h9v10H3z',
	text: 'M5 6h14M5 11h14M5 16h8', camera: 'M3 8h5l2-3h4l2 3h5v11H3zM12 10a3 3 0 1 0 0 6 3 3 0 1 0 0-6',
	code: 'M4 4h6v6H4zM14 4h6v6h-6zM4 14h6v6H4zM14 14h2v2m4 0v4m-4 0v-1',
};
const STATE_ICONS = {
	connecting: 'wait', ready: 'up', waiting: 'wait', sending: 'up', paused: 'pause', done: 'check', refused: 'cross',
	expired: 'code', 'needs-code': 'code', 'bad-code': 'code', 'other-tab': 'pause', outbox: 'down', over: 'check',
};
const FILE_ICONS = { stored: 'check', saved: 'check', linked: 'check', failed: 'alert', lost: 'alert', refused: 'cross' };
const GOING = ['sending', 'outbox'];
const BUSY = ['waiting', 'sending', 'paused'];

// ---- elements

function icon(name) {
	const [svg, path] = ['svg', 'path'].map((tag) => document.createElementNS('http://www.w3.org/2000/svg', tag));
	svg.setAttribute('viewBox', '0 0 24 24');
	svg.setAttribute('aria-hidden', 'true');
	svg.append(path);
	return shape(svg, name);
}

function shape(svg, name) {
	svg.firstChild.setAttribute('d', ICONS[name]);
	return svg;
}

function chooser(id, label, properties, name, look = '') {
	const onchange = ({ target }) => {
		add([...target.files].map(fileItem));
		target.value = '';
	};
	return [make('input', { id, type: 'file', multiple: true, ...properties, onchange }),
		make('label', { htmlFor: id, className: `button ${look}` }, icon(name), label)];
}

// ---- texts

/** The same, cut in the middle: the end of a name tells what it is. */
function shown(name) {
	const letters = [...inert(name)];
	const room = Math.max(28, Math.min(64, Math.floor(innerWidth / 10)));
	if (letters.length > room) letters.splice(room - 15, letters.length - room + 1, '…');
	return letters.join('');
}

const paces = new WeakMap();

/** Rate, smoothed, and time left of what `thing` shows. */
function pace(thing, bytes, sent) {
	const { at, before, rate: last } = paces.get(thing) || {};
	const now = Date.now();
	const fresh = now - at < 5000 ? 1000 * Math.max(0, sent - before) / (now - at) : 0;
	const rate = now - at < 900 ? last : last ? 0.6 * last + 0.4 * fresh : fresh;
	if (!(now - at < 900)) paces.set(thing, { at: now, before: sent, rate });
	if (rate <= 1) return [];
	const seconds = (bytes - sent) / rate;
	const [unit, of] = seconds < 60 ? ['s', 1] : seconds < 5400 ? ['min', 60] : ['h', 3600];
	return [`${size(rate)}/s`, ...seconds > 0 && seconds < 360000 ? [words.left(Math.ceil(seconds / of), unit)] : []];
}

// ---- the page

const soft = { className: 'soft' };
const title = make('h1', {}, 'qrdrop');
const where = make('p', soft);
const statusTitle = make('h2', { role: 'status' });
const statusText = make('p', soft);
const statusIcon = icon('wait');
const here = button(words.here, () => tell({ do: 'takeover' }), { className: 'main' });
const again = make('div', { className: 'pair' }, ...chooser('again', words.again, {}, 'file', 'main'),
	button(words.forget, () => tell({ do: 'forget' })));
const status = make('div', { id: 'status' }, statusIcon, statusTitle, statusText, here, again);
const offered = make('pre');
const copy = button(words.copy, () => copyText(offered.textContent), { className: 'link' });
const note = make('section', { id: 'note' }, offered, copy);
const list = make('div', { id: 'list', role: 'group', 'aria-label': words.list });
const bar = make('progress', { max: 1, 'aria-label': words.total });
const totalText = make('span');
const totalPace = make('span', soft);
const total = make('div', { id: 'total' }, make('div', {}, totalText, totalPace), bar);
const heard = make('p', { className: 'unseen', 'aria-live': 'polite' });
const text = make('textarea', { id: 'text', rows: 1, placeholder: words.text, 'aria-label': words.text, oninput: () => renewText() });
const sendText = button(icon('up'), () => writeText(), { id: 'send-text', disabled: true, 'aria-label': words.sendText });
// The state of history outlives a reload: what is chosen again then must become the same.
const slim = make('input', { type: 'checkbox', checked: !!history.state, onchange: () => history.replaceState(slim.checked || null, '') });
const slimText = make('span', {}, words.slim);
const inbox = [
	make('div', { className: 'pair' }, text, sendText),
	...chooser('files', words.files, {}, 'up', 'main'),
	make('label', { className: 'slim' }, slim, slimText),
	make('div', { className: 'pair' },
		...chooser('camera', words.camera, { accept: 'image/*,video/*', capture: 'environment', multiple: false }, 'camera'),
		...chooser('folder', words.folder, { webkitdirectory: true }, 'folder')),
];
const all = button(words.all, () => act('all'), { id: 'all', className: 'main' });
const done = button(words.done, () => tell({ do: 'done' }), { id: 'done' });
const footer = make('footer', {}, total, ...inbox, all, done,
	make('p', { className: 'private' }, icon('lock'), words.private));
document.body.append(make('header', {}, title, where), make('main', {}, status, note, list), heard, footer);

let view = { state: 'connecting', transfers: [], items: [], total: {} };
let state = '';
let quarter = 0;
let lock = null;
const groups = new Map();
const saved = new Map();
// Downloads of which a person was told that they are not encrypted.
const warned = new Set();

function stateNow() {
	const { transfers } = view;
	const some = (...states) => transfers.some((t) => states.includes(t.state) && (t.left > t.lost || !t.left));
	if (view.state === 'done') return 'over';
	if (view.state !== 'ready') return view.state;
	if (view.known.role === 'outbox') return 'outbox';
	if (some('accepted')) return 'sending';
	if (some('new', 'asking')) return 'waiting';
	if (transfers.some((t) => t.lost)) return 'again';
	return transfers.length ? outcome(transfers.at(-1), 'done') : 'ready';
}

const outcome = (t, good) => t.state !== 'finished' ? t.state : t.failed ? 'failed' : good;

function render() {
	const before = state;
	state = stateNow();
	const { known } = view;
	const outbox = known?.role === 'outbox';
	const [head, hint = ''] = view.checking ? [words.checking] : words.state[state];
	const bad = ['refused', 'failed'].includes(state);
	const reason = bad && view.transfers.at(-1).reason;
	const large = state === 'outbox' && warned.has('all') && !view.all.state && words.large(size(known.sealed_max));
	document.documentElement.dataset.state = { again: 'ready', expired: 'gone', over: 'done' }[state] || state;
	say(statusTitle, head);
	say(statusText, view.trouble || large || (reason ? inert(reason) : hint));
	statusText.hidden = !statusText.textContent;
	shape(statusIcon, STATE_ICONS[state] || 'alert');
	here.hidden = state !== 'other-tab';
	again.hidden = state !== 'again';
	footer.hidden = !known || ['needs-code', 'bad-code', 'expired', 'other-tab', 'over'].includes(state);
	for (const element of inbox) element.hidden = outbox;
	all.hidden = !view.all || known.files < 2;
	done.hidden = !outbox;
	note.hidden = !outbox || typeof known.text !== 'string';
	if (known && !where.childElementCount) greet(known, outbox);
	renderTotal(outbox);
	if (outbox) renderItems();
	else view.transfers.forEach(renderTransfer);
	status.classList.toggle('bad', bad || ['gone', 'paused'].includes(state));
	status.classList.toggle('busy', ['connecting', 'waiting'].includes(state));
	status.classList.toggle('slim', list.childElementCount > 0 || !note.hidden);
	if (before !== state) renewLock();
}

function greet(known, outbox) {
	title.replaceChildren(outbox ? words.from : words.to, make('bdi', {}, shown(known.name)));
	if (known.folder) where.append(words.into, make('bdi', {}, shown(known.folder)), ' · ');
	where.append(words.key, make('code', {}, known.mark));
	if (outbox) offered.textContent = known.text;
}

function renderTotal(outbox) {
	const getting = [...view.items, view.all].find((item) => item?.state === 'getting');
	const { bytes, sent } = getting || view.total;
	total.hidden = !(outbox ? getting : view.transfers.length && [...BUSY, 'done'].includes(state));
	if (total.hidden) return;
	bar.value = state === 'done' || !bytes ? 1 : Math.min(1, sent / bytes);
	say(totalText, state === 'done' ? size(bytes) : words.of(size(Math.min(sent, bytes)), size(bytes)));
	say(totalPace, state === 'sending' || getting ? pace(totalText, bytes, sent).join(' · ') : '');
	if (Math.floor(bar.value * 4) === quarter) return;
	quarter = Math.floor(bar.value * 4);
	say(heard, `${quarter * 25} %`);
}

/** A section with a row for each of `rows`; elements stay while their rows do. */
function section(key, rows, heading, more, stoppable) {
	let group = groups.get(key);
	if (!group) {
		const stop = button(words.cancel, () => tell({ do: 'cancel', key }), { className: 'link' });
		group = { heading: make('h3'), stop, ul: make('ul'), more: make('p', { className: 'more soft' }), rows: new Map() };
		groups.set(key, group);
		list.prepend(make('section', {}, make('div', { className: 'head' }, group.heading, stop), group.ul, group.more));
	}
	const { ul } = group;
	say(group.heading, heading);
	group.stop.hidden = !stoppable;
	group.more.hidden = more < 1;
	say(group.more, words.more(more.toLocaleString()));
	group.rows = new Map(rows.map((data) => [data.id, group.rows.get(data.id) || newRow()]));
	const elements = [...group.rows.values()].map((row) => row.element);
	if (ul.childElementCount !== elements.length || elements.some((element, at) => element !== ul.children[at])) {
		ul.replaceChildren(...elements);
	}
	for (const data of rows) renderRow(group.rows.get(data.id), data);
	return group;
}

function newRow() {
	const row = { icon: icon('file'), name: make('bdi', { className: 'name' }), detail: make('span', soft), bar: make('i') };
	row.element = make('li', {}, row.icon, make('div', {}, row.name, row.detail), row.bar);
	return row;
}

function renderRow(row, { id, kind, text: content, path, bytes, sent, state: now, name, reason }) {
	row.element.className = `row ${now}`;
	shape(row.icon, FILE_ICONS[now] || (['folder', 'text'].includes(kind) ? kind : 'file'));
	say(row.name, shown(content || path));
	const moving = now === 'sending' || now === 'getting';
	row.bar.style.transform = `scaleX(${moving && bytes ? Math.min(1, sent / bytes) : 0})`;
	const whole = kind === 'folder' ? words.is.folder : size(bytes);
	const parts = moving ? [words.of(size(sent), whole), ...GOING.includes(state) ? pace(row, bytes, sent) : []] : [whole, now === 'failed' ? words.failed : words.is[now]];
	if (name && name !== path) parts.push(words.as(shown(name)));
	if (reason) parts.push(inert(reason));
	const large = warned.has(id) && !now && words.large(size(view.known.sealed_max));
	say(row.detail, large || parts.filter(Boolean).join(' · '));
}

function renderTransfer(t) {
	// What is looked at was accepted.
	const now = t.state === 'asking' && view.checking ? 'accepted' : outcome(t, 'finished');
	const heading = `${words.count(t.files)} · ${words.is[now]}`;
	section(t.key, t.rows, heading, t.more, !footer.hidden && ['new', 'asking', 'accepted'].includes(t.state));
}

function renderItems() {
	const { files, bytes } = view.known;
	const rows = view.items.filter((item) => item.kind !== 'folder' && item.id !== 'all');
	const label = ({ id, state: now }, fresh) => now === 'saved' ? words.save
		: ['failed', 'refused'].includes(now) ? words.retry : warned.has(id) ? words.open : fresh;
	const pending = (item) => ['queued', 'getting', 'asking'].includes(item.state);
	const group = rows.length && section('outbox', rows,
		`${words.count(files)} · ${size(bytes)}`, view.count - 1 - view.items.length, false);
	for (const item of rows) {
		const row = group.rows.get(item.id);
		if (!row.button) row.element.append(row.button = button('', () => act(item.id)));
		const said = label(item, words.get);
		say(row.button, said);
		row.button.setAttribute('aria-label', `${said} ${shown(item.path)}`);
		row.button.disabled = pending(item);
	}
	if (!view.all) return;
	all.disabled = pending(view.all);
	say(all, pending(view.all) || view.all.state === 'linked' ? words.is[view.all.state] : label(view.all, words.all));
}

/** A tap on a download. What is too large to be opened here goes by a link; on http only after a second tap. */
function act(id) {
	const item = id === 'all' ? view.all : view.items.find((one) => one.id === id);
	const { sealed_max: most, secure } = view.known;
	if (saved.has(id)) save(saved.get(id));
	else if (item.bytes <= most) tell({ do: 'get', id });
	else if (secure || warned.has(id)) tell({ do: 'link', id });
	else {
		warned.add(id);
		render();
	}
}

/** navigator.clipboard is missing on plain http. */
function copyText(content) {
	const area = make('textarea', { value: content, className: 'unseen', readOnly: true });
	document.body.append(area);
	area.select();
	if (document.execCommand('copy')) copy.textContent = words.copied;
	area.remove();
	copy.focus();
}

// ---- what a person chose

const fileItem = (blob) => ({ blob, path: blob.webkitRelativePath || blob.name, kind: 'file' });

/** In parts: a hundred thousand files in one message would hold the page up. */
async function add(items) {
	for (const [at, item] of slim.checked ? items.entries() : []) {
		say(slimText, words.of(at + 1, items.length));
		await shrink(item);
	}
	say(slimText, words.slim);
	for (let at = 0; at < items.length; at += 1000) {
		tell({ do: 'add', items: items.slice(at, at + 1000), last: at + 1000 >= items.length });
		if (at) await new Promise((resolve) => setTimeout(resolve));
	}
}

/** Encodes a photo again, upright and without metadata. It stays as it is where that is not worth it or not possible. */
async function shrink(item) {
	const { blob } = item;
	if (blob?.type !== 'image/jpeg') return;
	try {
		const photo = await createImageBitmap(blob);
		const { width, height } = photo;
		// More than that is blank on some phones.
		if (width * height > 2 ** 24) return;
		const canvas = make('canvas', { width, height });
		const pen = canvas.getContext('2d');
		// Some browsers give noise in place of what was drawn.
		pen.fillStyle = '#369';
		pen.fillRect(0, 0, 9, 9);
		const seen = pen.getImageData(0, 0, 9, 9).data;
		if (seen.some((value, at) => Math.abs(value - [51, 102, 153, 255][at % 4]) > 4)) return;
		pen.drawImage(photo, 0, 0);
		const made = await new Promise((done) => canvas.toBlob(done, 'image/jpeg', 0.85));
		if (made.size < 0.9 * blob.size) item.blob = new File([made], blob.name, { lastModified: blob.lastModified });
	} catch (_) {
		// Not a photo that this browser can read.
	}
}

function renewText(value = text.value) {
	text.value = value;
	sendText.disabled = !value;
}

function writeText() {
	const { value } = text;
	renewText('');
	const blob = new Blob([value]);
	const path = 'text.txt';
	add([blob.size <= 65536 ? { kind: 'text', path, text: value } : { kind: 'file', path, blob }]);
}

async function walk(entry, found) {
	const path = entry.fullPath.slice(1);
	if (entry.isFile) {
		const blob = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
		if (blob) found.push({ blob, path, kind: 'file' });
		return;
	}
	const reader = entry.createReader();
	const next = () => new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
	let empty = true;
	for (let batch; (batch = await next()).length; empty = false) {
		for (const child of batch) await walk(child, found);
	}
	if (empty) found.push({ path, kind: 'folder' });
}

async function dropped({ items, files }) {
	const entries = [...items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
	const found = entries.length ? [] : [...files].map(fileItem);
	for (const entry of entries) await walk(entry, found);
	add(found);
}

const takes = () => view.known?.role === 'inbox';
addEventListener('paste', (event) => {
	const files = [...event.clipboardData.files];
	if (!takes() || !files.length && event.target === text) return;
	event.preventDefault();
	if (files.length) return add(files.map(fileItem));
	renewText(event.clipboardData.getData('text/plain'));
	text.focus();
});
for (const name of ['dragover', 'dragleave', 'drop']) {
	addEventListener(name, (event) => {
		event.preventDefault();
		document.body.classList.toggle('over', name === 'dragover' && takes());
		if (name === 'drop' && takes()) dropped(event.dataTransfer);
	});
}

// ---- the engine, and what keeps it going

engine.onerror = ({ message }) => HEAR.view({ ...view, trouble: message });
const HEAR = {
	keep: memory,
	view: (data) => {
		view = data;
		render();
	},
	save: ({ id, blob, name }) => {
		saved.set(id, { href: URL.createObjectURL(blob), download: name.replace(HIDDEN, '_') });
		save(saved.get(id));
	},
	link: ({ path }) => save({ href: path, download: '' }),
};

async function renewLock() {
	const wanted = state === 'sending' && !document.hidden;
	if (!navigator.wakeLock || wanted === !!lock) return;
	lock?.release();
	lock = wanted ? await navigator.wakeLock.request('screen').catch(() => null) : null;
	if (lock) lock.onrelease = () => { lock = null; };
}

const wake = () => {
	if (document.hidden) return;
	tell({ do: 'wake' });
	renewLock();
};
addEventListener('online', wake);
addEventListener('pageshow', wake);
document.addEventListener('visibilitychange', wake);
addEventListener('beforeunload', (event) => { if (BUSY.includes(state)) event.preventDefault(); });
addEventListener('hashchange', () => location.reload());

if (!begin()) view.state = 'needs-code';
render();
