// A conversation: what was said, and the line to say more in. Names and texts come from strangers: they are only ever
// text nodes. Of the page around it: `takeable` gives the buttons of an offer, `renderRoom` shows who is here.
const SAID = {
	title: 'Conversation', placeholder: 'Message', send: 'Send', joined: 'is here', left: 'has left', count: (n) => `${n} here`,
	offers: (name, bytes) => `offers ${name}, ${bytes} `, over: (n) => `#${n} is no longer offered`, missed: (n) => `${n} lines were missed`,
};

// Lines that are kept on the page; older ones are for those who were there.
const LINES = 500;
// A message of a host's largest size in bytes.
const MESSAGE = 65536;

const log = make('ul', { id: 'log', 'aria-live': 'polite' });
const word = make('textarea', {
	id: 'word', rows: 1, placeholder: SAID.placeholder, 'aria-label': SAID.placeholder, oninput: () => fit(),
	onkeydown: (event) => {
		if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
		event.preventDefault();
		talk();
	},
});
const sendWord = button(SAID.send, () => talk(), { id: 'send-word', className: 'main', disabled: true });
const talkLine = make('div', { className: 'pair' }, word, sendWord);

let you = null;
const members = new Map();
// Offers that were shown.
const offers = new Set();

const present = () => SAID.count([...members.values()].filter((one) => one.here).length);

function fit() {
	sendWord.disabled = you === null || !word.value.trim() || new Blob([word.value]).size > MESSAGE;
}

function talk() {
	fit();
	if (sendWord.disabled) return;
	tell({ do: 'talk', text: word.value });
	word.value = '';
	fit();
	word.focus();
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
	const around = log.parentElement;
	const down = around.scrollHeight - around.scrollTop - around.clientHeight < 60;
	const clock = new Date(time).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
	log.append(make('li', { className }, make('time', { className: 'soft' }, clock), ' ', ...who(number), ' ', ...children));
	while (log.children.length > LINES) log.firstChild.remove();
	if (down) around.scrollTop = around.scrollHeight;
}

function remark(words) {
	log.append(make('li', { className: 'note soft' }, words));
}

function news({ time, by, what }) {
	if (what.joined) members.set(by, what.joined);
	if ('text' in what) put(by, time, by === you ? 'own said' : 'said', make('span', { className: 'words' }, lines(what.text)));
	else if (what.joined) put(by, time, 'note', SAID.joined);
	else if (what.left) {
		put(by, time, 'note', SAID.left);
		if (members.has(by)) members.get(by).here = false;
	} else if (what.shared) shared(by, time, what.shared);
	else remark(SAID.over(what.withdrawn));
	renderRoom();
}

function shared(by, time, offer) {
	offers.add(offer.offer);
	put(by, time, 'note', SAID.offers(inert(offer.name), size(offer.bytes)), ...by === you ? [] : takeable(offer));
	while (offers.size > LINES) offers.delete(offers.keys().next().value);
}

const TOLD = {
	room: ({ welcome }) => {
		you = welcome.you;
		members.clear();
		for (const member of welcome.members) members.set(member.number, member);
		for (const one of welcome.offers) if (!offers.has(one.offer)) shared(one.by, Date.now(), one);
		if (welcome.missed) remark(SAID.missed(welcome.missed));
		fit();
		renderRoom();
	},
	news: (data) => data.news.forEach(news),
};

