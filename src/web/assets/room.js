// What a person sees and does in a room. Names and texts come from strangers: they are only ever text nodes.
const WORDS = {
	private: 'Private: nobody who listens on this Wi-Fi can read this; the computer that hosts the room reads everything.',
	placeholder: 'Message', send: 'Send', here: 'Use it here', joined: 'is here', left: 'has left', you: 'you',
	offers: (name, bytes) => `offers ${name}, ${bytes} `, take: 'Download', large: '(too large for this page)', again: 'Try again', file: 'Offer files', saved: 'downloaded and checked',
	coming: (name, share) => `Downloading ${name}: ${share} %`, going: (name, share) => `Offering ${name}: ${share} %`,
	fetching: 'on its way', failed: (name, reason) => `${name} was not offered: ${reason}`,
	over: (n) => `#${n} is no longer offered`, missed: (n) => `${n} lines were missed`, count: (n) => `${n} here`,
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

// Lines that are kept on the page; older ones are for those who were there.
const LINES = 500;
// A message of a host's largest size in bytes.
const MESSAGE = 65536;

const title = make('h1', {}, 'qrdrop');
const where = make('p', { className: 'soft' });
const statusTitle = make('h2', { role: 'status' });
const statusText = make('p', { className: 'soft' });
const here = button(WORDS.here, () => tell({ do: 'takeover' }), { className: 'main' });
const status = make('div', { id: 'status' }, statusTitle, statusText, here);
const log = make('ul', { id: 'log', 'aria-live': 'polite' });
const main = make('main', {}, status, log);
const text = make('textarea', {
	id: 'text', rows: 1, placeholder: WORDS.placeholder, 'aria-label': WORDS.placeholder, oninput: () => fit(),
	onkeydown: (event) => {
		if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
		event.preventDefault();
		talk();
	},
});
const send = button(WORDS.send, () => talk(), { id: 'send-text', className: 'main', disabled: true });
const moving = make('p', { id: 'moving', className: 'soft', role: 'status' });
const files = make('input', { id: 'files', type: 'file', multiple: true, onchange: ({ target }) => {
	// Each is an offer of its own.
	for (const blob of target.files) tell({ do: 'add', items: [{ blob, path: blob.name, kind: 'file' }], last: true });
	target.value = '';
} });
document.body.append(make('header', {}, title, where), main,
	make('footer', {}, moving, files, make('label', { htmlFor: 'files', className: 'button' }, WORDS.file), make('div', { className: 'pair' }, text, send), make('p', { className: 'private' }, WORDS.private)));

let view = { state: 'connecting' };
let you = null;
const members = new Map();
// How each offer is taken here, by its number.
const takes = new Map();
const told = new Set();

const bytesOf = (words) => new Blob([words]).size;

function fit() {
	send.disabled = you === null || !text.value.trim() || bytesOf(text.value) > MESSAGE;
}

function talk() {
	fit();
	if (send.disabled) return;
	tell({ do: 'talk', text: text.value });
	text.value = '';
	fit();
	text.focus();
}

/** Lines of a text, each safe to read. */
const lines = (words) => words.split('\n').map(inert).join('\n');

/** A member by name, and by its key where another one has the same name. */
function who(number) {
	const { name, look, mark } = members.get(number) || { name: `member ${number}` };
	const double = [...members.values()].some((one) => one.look === look && one.mark !== mark);
	const called = make('bdi', { className: number === you ? 'you' : 'who' }, inert(name));
	return double ? [called, ' ', make('code', {}, mark)] : [called];
}

function put(number, time, className, ...children) {
	const down = main.scrollHeight - main.scrollTop - main.clientHeight < 60;
	const clock = new Date(time).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
	log.append(make('li', { className }, make('time', { className: 'soft' }, clock), ' ', ...who(number), ' ', ...children));
	while (log.children.length > LINES) log.firstChild.remove();
	if (down) main.scrollTop = main.scrollHeight;
}

function note(words) {
	log.append(make('li', { className: 'note soft' }, words));
}

function news({ time, by, what }) {
	if (what.joined) members.set(by, what.joined);
	if ('text' in what) put(by, time, by === you ? 'own said' : 'said', make('span', { className: 'words' }, lines(what.text)));
	else if (what.joined) put(by, time, 'note', WORDS.joined);
	else if (what.left) {
		put(by, time, 'note', WORDS.left);
		if (members.has(by)) members.get(by).here = false;
	} else if (what.shared) offered(by, time, what.shared);
	else note(WORDS.over(what.withdrawn));
	render();
}

function offered(by, time, { offer, name, bytes, large }) {
	const take = button(WORDS.take, () => {
		take.disabled = true;
		say(take, WORDS.fetching);
		tell({ do: 'take', offer, name });
	}, { className: 'link' });
	takes.set(offer, take);
	put(by, time, 'note', WORDS.offers(inert(name), size(bytes)), ...by === you ? [] : [large ? WORDS.large : take]);
	while (takes.size > LINES) takes.delete(takes.keys().next().value);
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
			note(WORDS.failed(inert(t.rows[0].path), inert(t.reason || '')));
		}
	}
}

function room(welcome) {
	you = welcome.you;
	members.clear();
	for (const member of welcome.members) members.set(member.number, member);
	for (const one of welcome.offers) if (!takes.has(one.offer)) offered(one.by, Date.now(), one);
	if (welcome.missed) note(WORDS.missed(welcome.missed));
	fit();
	render();
}

function render() {
	const state = view.trouble ? 'refused' : view.state === 'ready' && you === null ? 'connecting' : view.state;
	document.documentElement.dataset.state = state;
	const [head = '', body = view.trouble || ''] = WORDS.state[state] || [state];
	say(statusTitle, head);
	say(statusText, state === 'refused' ? inert(body) : body);
	status.hidden = state === 'ready';
	here.hidden = state !== 'other-tab';
	renderMoving();
	if (view.known) say(title, inert(view.known.name));
	say(where, you === null ? '' : WORDS.count([...members.values()].filter((one) => one.here).length));
}

const HEAR = {
	keep: memory,
	view: (data) => {
		view = data;
		render();
	},
	room: (data) => room(data.welcome),
	taken: ({ offer, reason }) => {
		const take = takes.get(offer);
		if (reason) note(inert(reason));
		if (!take) return;
		take.disabled = !reason;
		say(take, reason ? WORDS.again : WORDS.saved);
	},
	save: ({ blob, name }) => save({ href: URL.createObjectURL(blob), download: name.replace(HIDDEN, '_') }),
	news: (data) => data.news.forEach(news),
};
engine.onerror = ({ message }) => HEAR.view({ ...view, trouble: message });

const wake = () => { if (!document.hidden) tell({ do: 'wake' }); };
addEventListener('online', wake);
addEventListener('pageshow', wake);
document.addEventListener('visibilitychange', wake);
addEventListener('hashchange', () => location.reload());

if (!begin()) view.state = 'needs-code';
render();
