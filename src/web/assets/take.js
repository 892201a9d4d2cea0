
// ---- what members of a room offer (protocol.md 11.5.1)

// One at a time: what is listed of an offer is in `items` while it is fetched.
ORDERS.take = ({ offer, name }) => {
	fetching = fetching.then(() => take(offer, name)).then(
		() => tell({ is: 'taken', offer }),
		({ message }) => tell({ is: 'taken', offer, reason: message }),
	);
};

async function take(offer, name) {
	// The host may have to fetch it first.
	while (!(await call('take', { offer }, 35e3)).ready);
	const entries = await pages('list', { offer }, 'entries');
	items.clear();
	for (const entry of entries) items.set(entry.id, { ...entry, offer, sent: 0 });
	const item = entries.length === 1 && entries[0].kind === 'file' ? items.get(entries[0].id) : {
		id: 'all', path: `${name}.zip`, offer, sent: 0, bytes: entries.reduce((sum, { bytes }) => sum + bytes, 0),
	};
	items.set(item.id, item);
	try {
		await download(item);
	} finally {
		items.clear();
	}
}
