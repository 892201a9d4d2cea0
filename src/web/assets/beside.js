
// ---- the conversation, where there is a room beside what the page is there for

const talkHead = make('h3');
const talkRefused = make('p', { className: 'more soft', hidden: true });
const talkPart = make('section', { id: 'talk' }, make('div', { className: 'head' }, talkHead),
	make('div', { className: 'scroll' }, log), talkRefused, talkLine);
document.querySelector('main').append(talkPart);

/** What members offer each other is for programs: this page has its own files to show. */
const takeable = () => [];

function renderRoom() {
	say(talkHead, you === null ? SAID.title : `${SAID.title} · ${present()}`);
	// What is above it may have grown.
	if (document.activeElement === word) talkLine.scrollIntoView({ block: 'nearest' });
}

Object.assign(HEAR, TOLD, {
	refused: ({ reason }) => {
		say(talkRefused, inert(reason));
		talkRefused.hidden = false;
		talkLine.hidden = true;
	},
});
renderRoom();
