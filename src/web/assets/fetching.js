// ---- an outbox

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
