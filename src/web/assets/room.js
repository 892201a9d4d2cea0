// What a person sees and does in a room, around what is said.
const WORDS = {
	private: 'Private: nobody who listens on this Wi-Fi can read this; the computer that hosts the room reads everything.',
	here: 'Use it here', take: 'Download', large: '(too large for this page)', again: 'Try again', file: 'Offer files', saved: 'downloaded and checked',
	coming: (name, share) => `Downloading ${name}: ${share} %`, going: (name, share) => `Offering ${name}: ${share} %`,
	fetching: 'on its way', failed: (name, reason) => `${name} was not offered: ${reason}`,
	state: {
		connecting: ['Connecting…'], ready: [],
		gone: ['The room can’t be reached', 'Is this device on the same Wi-Fi, and the room still open? This page keeps trying.'],
		paused: ['No connection', 'It goes on by itself.'],
		expired: ['This session has ended', 'Scan the code on the computer’s screen to begin again.'],
		'needs-code': ['This page needs the code from the screen', 'Scan it with your phone’s camera app.'],
		'bad-code': ['This code is no longer valid', 'Scan the one on the screen now.'],
		'other-tab': ['Open in another tab', 'This session goes on there.'],
		refused: ['The room did not let you in'],
	},
};

const title = make('h1', {}, 'qrdrop');
const where = make('p', { className: 'soft' });
const statusTitle = make('h2', { role: 'status' });
const statusText = make('p', { className: 'soft' });
const here = button(WORDS.here, () => tell({ do: 'takeover' }), { className: 'main' });
const status = make('div', { id: 'status' }, statusTitle, statusText, here);
const main = make('main', {}, status, log);
const moving = make('p', { id: 'moving', className: 'soft', role: 'status' });
const files = make('input', { id: 'files', type: 'file', multiple: true, onchange: ({ target }) => {
	// Each is an offer of its own.
	for (const blob of target.files) tell({ do: 'add', items: [{ blob, path: blob.name, kind: 'file' }], last: true });
	target.value = '';
} });
document.body.append(make('header', {}, title, where), main,
	make('footer', {}, moving, files, make('label', { htmlFor: 'files', className: 'button' }, WORDS.file), talkLine, make('p', { className: 'private' }, WORDS.private)));

let view = { state: 'connecting' };
let refusal = '';
// How each offer is taken here, by its number.
const takes = new Map();
const told = new Set();

function takeable({ offer, name, large }) {
	if (large) return [WORDS.large];
	const take = button(WORDS.take, () => {
		take.disabled = true;
		say(take, WORDS.fetching);
		tell({ do: 'take', offer, name });
	}, { className: 'link' });
	takes.set(offer, take);
	while (takes.size > LINES) takes.delete(takes.keys().next().value);
	return [take];
}

/** What goes either way now; what failed is noted once. */
function renderMoving() {
	const share = ({ bytes, sent }) => Math.floor(100 * (bytes ? Math.min(1, sent / bytes) : 1));
	const getting = (view.items || []).find((item) => item.state === 'getting');
	const going = (view.transfers || []).find((t) => ['new', 'asking', 'accepted'].includes(t.state));
	say(moving, getting ? WORDS.coming(inert(getting.path), share(getting))
		: going && going.rows[0] ? WORDS.going(inert(going.rows[0].path), share(going.rows[0])) : '');
	moving.hidden = !moving.textContent;
	for (const t of view.transfers || []) {
		// A page that was loaded again has lost the files.
		if (t.lost) tell({ do: 'cancel', key: t.key });
		else if (['failed', 'refused'].includes(t.state) && !told.has(t.key)) {
			told.add(t.key);
			remark(WORDS.failed(inert(t.rows[0].path), inert(t.reason || '')));
		}
	}
}

function render() {
	const trouble = view.trouble || refusal;
	const state = trouble ? 'refused' : view.state === 'ready' && you === null ? 'connecting' : view.state;
	document.documentElement.dataset.state = state;
	const [head = '', body = trouble || ''] = WORDS.state[state] || [state];
	say(statusTitle, head);
	say(statusText, state === 'refused' ? inert(body) : body);
	status.hidden = state === 'ready';
	here.hidden = state !== 'other-tab';
	renderMoving();
	if (view.known) say(title, inert(view.known.name));
	say(where, you === null ? '' : present());
}

const renderRoom = render;

const HEAR = {
	...TOLD,
	keep: memory,
	view: (data) => {
		view = data;
		render();
	},
	refused: ({ reason }) => {
		refusal = reason;
		render();
	},
	taken: ({ offer, reason }) => {
		const take = takes.get(offer);
		if (reason) remark(inert(reason));
		if (!take) return;
		take.disabled = !reason;
		say(take, reason ? WORDS.again : WORDS.saved);
	},
	save: ({ blob, name }) => save({ href: URL.createObjectURL(blob), download: name.replace(HIDDEN, '_') }),
};
engine.onerror = ({ message }) => HEAR.view({ ...view, trouble: message });

const wake = () => { if (!document.hidden) tell({ do: 'wake' }); };
addEventListener('online', wake);
addEventListener('pageshow', wake);
document.addEventListener('visibilitychange', wake);
addEventListener('hashchange', () => location.reload());

if (!begin()) view.state = 'needs-code';
render();
