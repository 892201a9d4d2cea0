// ---- an inbox: what was chosen

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
		list.update(encoder.encode(JSON.stringify(entries.map(({ modified, ...entry }) => entry))));
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
