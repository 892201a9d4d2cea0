
// ---- a room: what is said, once and in the host's order (protocol.md 11.5.1)

// Said, and not heard back yet.
const unheard = [];
let you = null;
let seen = 0;
let turn = 0;
let saying = false;

ORDERS.talk = ({ text }) => {
	unheard.push({ turn: turn += 1, text });
	utter();
};

const hush = (heard) => {
	while (unheard.length && unheard[0].turn <= heard) unheard.shift();
};

/** Says what was not heard, in its order. What is said twice is heard once. */
async function utter() {
	if (saying || you === null) return;
	saying = true;
	try {
		for (let said = 0; unheard.length && unheard.at(-1).turn > said;) {
			const next = unheard.find((one) => one.turn > said);
			const fault = await call('say', next).then(() => null, (one) => one);
			if (!fault) said = next.turn;
			else if (fault.kind === 'busy') await rest(1000);
			else return;
		}
	} finally {
		saying = false;
	}
}

async function join() {
	const welcome = await call('join', { seen }, 130e3);
	// Another number: another stay, whose turns begin anew.
	if (you !== welcome.you) {
		turn = welcome.heard;
		for (const one of unheard) one.turn = turn += 1;
	}
	({ you, seen } = welcome);
	hush(welcome.heard);
	tell({ is: 'room', welcome });
	utter();
}

async function attend() {
	while (!known) await rest(200);
	for (let here = false; ;) {
		try {
			if (!here) await join();
			here = true;
			const { news } = await call('hear', { seen }, 35e3);
			for (const one of news) {
				seen = one.number;
				if (one.by === you) hush(one.turn);
			}
			if (news.length) tell({ is: 'news', news });
		} catch (fault) {
			here = false;
			if (fault.kind === 'refused') return tell({ is: 'refused', reason: fault.message });
			await rest(1000);
		}
	}
}
attend();
