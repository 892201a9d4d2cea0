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

// -- what is shown

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
