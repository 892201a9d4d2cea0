'use strict';
// What a person sees and does. Names and texts come from strangers: they are only ever text nodes. The braces keep
// its names apart from those of the engine, which stands in the same page.
{
const TEXT = {
  en: {
    to: 'Send to ', from: 'From ', into: 'into ', key: 'key ',
    private: 'Private: nobody who listens on this Wi-Fi can read this. It does not protect against someone who can tamper with the Wi-Fi.',
    files: 'Send photos or files', camera: 'Camera', folder: 'Folder', text: 'Text or link', sendText: 'Send text',
    again: 'Choose the same files again', forget: 'Give them up', cancel: 'Cancel', here: 'Use it here',
    list: 'Files', total: 'Total', more: (n) => `and ${n} more`, copy: 'Copy', copied: 'Copied', done: 'Done', all: 'Download all (zip)',
    get: 'Download', open: 'Download unencrypted', save: 'Save again', retry: 'Try again',
    left: (time) => `${time} left`, of: (a, b) => `${a} of ${b}`, count: (n) => n === 1 ? '1 file' : `${n} files`,
    seconds: (n) => `${n} s`, minutes: (n) => `${n} min`, hours: (n) => `${n} h`,
    checking: 'Looking for where to go on', folderKind: 'folder',
    state: {
      connecting: ['Connecting…', ''],
      ready: ['Ready', 'Choose photos, videos, files, a folder, or type a text.'],
      waiting: ['Waiting for a yes at the computer', 'Someone there has to accept.'],
      sending: ['Sending', 'Keep this page open; if the screen locks, sending goes on when you unlock it.'],
      paused: ['Paused: no connection', 'It goes on by itself. Is this device on the same Wi-Fi, and the receiver still running?'],
      done: ['Everything arrived', 'Stored and checked on the computer.'],
      refused: ['The computer said no', 'Nothing was stored.'],
      failed: ['Not everything arrived', 'See below what happened.'],
      again: ['Choose the same files again to go on', 'This page was loaded again. What has arrived is kept.'],
      gone: ['The computer can’t be reached', 'Is this device on the same Wi-Fi? Is the receiver still running? This page keeps trying.'],
      expired: ['The computer has ended this session', 'Scan the code on its screen to begin again.'],
      'needs-code': ['This page needs the code from the screen', 'Scan it with your phone’s camera app. Some scanner apps lose the last part of the address.'],
      'bad-code': ['This code is no longer valid', 'Scan the one on the screen now.'],
      'other-tab': ['Open in another tab', 'This session goes on there.'],
      outbox: ['Ready to download', ''],
      over: ['Done', 'You can close this page.'],
    },
    file: {
      waiting: 'waiting', sending: 'sending', stored: 'stored and checked', failed: 'failed', lost: 'choose it again',
      queued: 'waiting', getting: 'downloading', saved: 'downloaded and checked', asking: 'waiting for a yes at the computer',
      refused: 'the computer said no', linked: 'your browser is downloading it',
    },
    group: { new: 'to be offered', asking: 'waiting for a yes', accepted: 'accepted', refused: 'refused', finished: 'stored and checked', failed: 'not complete' },
    as: (name) => `as ${name}`,
    large: (size) => `Larger than ${size}: this page can’t decrypt it in memory. It would go over the Wi-Fi unencrypted, and someone at the computer has to agree. Or start qrdrop there with --https.`,
  },
};
const language = navigator.language.slice(0, 2);
const words = TEXT[language] || TEXT.en;
const ICONS = {
  up: 'M12 19V6m-6 6 6-6 6 6', down: 'M12 5v13m-6-6 6 6 6-6', check: 'm5 13 5 5 9-11', cross: 'M6 6l12 12M18 6 6 18',
  wait: 'M12 7v5l3 2M12 3a9 9 0 1 0 0 18 9 9 0 1 0 0-18', pause: 'M9 6v12M15 6v12', alert: 'M12 8v5m0 3v.01M12 3 2.5 20h19z',
  lock: 'M7 11V8a5 5 0 0 1 10 0v3M5 11h14v9H5z', file: 'M6 3h8l4 4v14H6zM14 3v4h4', folder: 'M3 6h7l2 3h9v10H3z',
  text: 'M5 6h14M5 11h14M5 16h8', camera: 'M3 8h5l2-3h4l2 3h5v11H3zM12 10a3 3 0 1 0 0 6 3 3 0 1 0 0-6',
  code: 'M4 4h6v6H4zM14 4h6v6h-6zM4 14h6v6H4zM14 14h2v2m4 0v4m-4 0v-1',
};
const STATE_ICONS = {
  connecting: 'wait', ready: 'up', waiting: 'wait', sending: 'up', paused: 'pause', done: 'check', refused: 'cross',
  failed: 'alert', again: 'alert', gone: 'alert', expired: 'code', 'needs-code': 'code', 'bad-code': 'code',
  'other-tab': 'pause', outbox: 'down', over: 'check',
};
const FILE_ICONS = {
  stored: 'check', saved: 'check', linked: 'check', failed: 'alert', refused: 'cross', lost: 'alert',
};
const BUSY = ['waiting', 'sending', 'paused'];

// ---- elements

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  svg.append(path);
  return shape(svg, name);
}

function shape(svg, name) {
  if (svg.dataset.name !== name) svg.firstChild.setAttribute('d', ICONS[name]);
  svg.dataset.name = name;
  return svg;
}

/** Changes a text only if it differs, for the sake of screen readers and selections. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function button(label, onclick, properties) {
  return make('button', { type: 'button', onclick, ...properties }, label);
}

function chooser(id, label, properties, name, look = '') {
  const input = make('input', { id, type: 'file', multiple: true, ...properties });
  input.onchange = () => {
    add([...input.files].map(fileItem));
    input.value = '';
  };
  return [input, make('label', { htmlFor: id, className: `button ${look}` }, icon(name), label)];
}

// ---- texts

// What could turn or hide the end of a name (UAX 9), and what has no shape of its own.
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** Safe to read, and cut in the middle: the end of a name tells what it is. */
function shown(name) {
  const letters = [...name.slice(0, 4000).replace(HIDDEN, '\ufffd')];
  const room = Math.max(28, Math.min(64, Math.floor(innerWidth / 10)));
  if (letters.length > room) letters.splice(room - 15, letters.length - room + 1, '…');
  return letters.join('');
}

function size(bytes) {
  if (!Number.isFinite(bytes) || bytes < 1000) return `${Number.isFinite(bytes) ? Math.round(bytes) : '?'} B`;
  const power = Math.min(6, Math.floor(Math.log10(bytes) / 3));
  const value = bytes / 1000 ** power;
  return `${value.toFixed(value < 99.5 ? 1 : 0)} ${' kMGTPE'[power]}B`;
}

function time(seconds) {
  if (seconds < 60) return words.seconds(Math.max(1, Math.round(seconds)));
  if (seconds < 5400) return words.minutes(Math.round(seconds / 60));
  return words.hours(Math.round(seconds / 3600));
}

function pace(rate, left) {
  const parts = rate > 1 ? [`${size(rate)}/s`] : [];
  if (rate > 1 && left > 0 && left / rate < 360000) parts.push(words.left(time(left / rate)));
  return parts;
}

function device() {
  const agent = navigator.userAgent;
  const known = [
    [/iPhone/, 'iPhone'], [/iPad/, 'iPad'], [/Android.*Mobile/, 'Android phone'], [/Android/, 'Android tablet'],
    [/CrOS/, 'ChromeOS'], [/Mac/, navigator.maxTouchPoints > 1 ? 'iPad' : 'Mac'], [/Windows/, 'Windows PC'],
    [/Linux|X11/, 'Linux PC'],
  ].find(([pattern]) => pattern.test(agent));
  return known ? known[1] : 'Browser';
}

// ---- the page

const title = make('h1', {}, 'qrdrop');
const where = make('p', { className: 'soft' });
const statusTitle = make('h2');
const statusText = make('p', { className: 'soft' });
const statusIcon = icon('wait');
const here = button(words.here, () => tell({ do: 'takeover' }), { className: 'main' });
const again = make('div', { className: 'pair' }, ...chooser('again', words.again, {}, 'file', 'main'),
  button(words.forget, () => tell({ do: 'forget' })));
const status = make('div', { id: 'status' }, statusIcon, statusTitle, statusText, here, again);
const offered = make('pre');
const copy = button(words.copy, () => copyText(offered.textContent), { className: 'link' });
const note = make('section', { id: 'note' }, offered, copy);
const list = make('div', { id: 'list' });
const bar = make('progress', { max: 1 });
const totalText = make('span');
const totalPace = make('span', { className: 'soft' });
const total = make('div', { id: 'total' }, make('div', {}, totalText, totalPace), bar);
const heard = make('p', { className: 'unseen' });
const text = make('textarea', { id: 'text', rows: 1, placeholder: words.text });
const sendText = button(icon('up'), () => writeText(), { id: 'send-text', disabled: true });
const choosers = make('div', { className: 'pair' },
  ...chooser('camera', words.camera, { accept: 'image/*,video/*', capture: 'environment', multiple: false }, 'camera'),
  ...chooser('folder', words.folder, { webkitdirectory: true }, 'folder'));
const composer = make('div', { className: 'pair' }, text, sendText);
const inbox = [composer, ...chooser('files', words.files, {}, 'up', 'main'), choosers];
const all = button(words.all, () => act('all'), { id: 'all', className: 'main' });
const done = button(words.done, () => tell({ do: 'done' }), { id: 'done' });
const promise = make('p', { className: 'private' }, icon('lock'), words.private);
const footer = make('footer', {}, total, ...inbox, all, done, promise);
document.body.append(make('header', {}, title, where), make('main', {}, status, note, list), heard, footer);
statusTitle.setAttribute('role', 'status');
heard.setAttribute('aria-live', 'polite');
bar.setAttribute('aria-label', words.total);
list.setAttribute('aria-label', words.list);
text.setAttribute('aria-label', words.text);
sendText.setAttribute('aria-label', words.sendText);

let view = { state: 'connecting', transfers: [], items: [], total: {} };
let state = '';
let quarter = 0;
let lock = null;
const groups = new Map();
const saved = new Map();
const warned = new Set();

function stateNow() {
  const { transfers, again: lost } = view;
  if (view.state === 'done') return 'over';
  if (view.state !== 'ready') return view.state;
  if (view.status.role === 'outbox') return 'outbox';
  if (transfers.some((t) => t.state === 'accepted' && (t.left > t.lost || !t.left))) return 'sending';
  if (transfers.some((t) => t.state === 'new' || t.state === 'asking')) return 'waiting';
  if (lost) return 'again';
  const latest = transfers[transfers.length - 1];
  if (!latest) return 'ready';
  return latest.state === 'finished' ? latest.failed ? 'failed' : 'done' : latest.state;
}

function render() {
  const before = state;
  state = stateNow();
  const known = view.status;
  const outbox = known && known.role === 'outbox';
  const [head, hint] = words.state[state];
  const latest = view.transfers[view.transfers.length - 1];
  document.documentElement.dataset.state = { again: 'ready', expired: 'gone', over: 'done' }[state] || state;
  say(statusTitle, view.checking ? words.checking : head);
  const reason = ['refused', 'failed'].includes(state) && latest.reason;
  say(statusText, view.trouble || (reason ? shown(reason) : hint));
  statusText.hidden = !statusText.textContent;
  shape(statusIcon, STATE_ICONS[state]);
  here.hidden = state !== 'other-tab';
  again.hidden = state !== 'again';
  const over = ['needs-code', 'bad-code', 'expired', 'other-tab', 'over'].includes(state);
  footer.hidden = !known || over;
  for (const element of inbox) element.hidden = outbox;
  all.hidden = !outbox || known.files < 2 || !view.all;
  done.hidden = !outbox;
  note.hidden = !outbox || typeof known.text !== 'string';
  if (known && !where.childElementCount) greet(known, outbox);
  renderTotal(known, outbox);
  if (outbox) renderItems();
  else renderTransfers();
  status.classList.toggle('bad', ['refused', 'failed', 'gone', 'paused'].includes(state));
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

function renderTotal(known, outbox) {
  const getting = [...view.items, view.all].find((item) => item?.state === 'getting');
  const sum = outbox ? { ...view.total, bytes: getting && getting.bytes, sent: getting && getting.have } : view.total;
  total.hidden = !(outbox ? getting : BUSY.includes(state) || state === 'done') || !view.transfers.length && !getting;
  if (total.hidden) return;
  const part = state === 'done' || !sum.bytes ? 1 : Math.min(1, sum.sent / sum.bytes);
  bar.value = part;
  say(totalText, state === 'done' ? size(sum.bytes) : words.of(size(Math.min(sum.sent, sum.bytes)), size(sum.bytes)));
  say(totalPace, state === 'sending' || getting ? pace(sum.rate, sum.bytes - sum.sent).join(' · ') : '');
  if (Math.floor(part * 4) !== quarter) {
    quarter = Math.floor(part * 4);
    say(heard, `${quarter * 25} %`);
  }
}

/** One section with a row for each of `rows`; elements stay while their rows do. */
function section(key, rows) {
  let group = groups.get(key);
  if (!group) {
    const heading = make('h3');
    const stop = button(words.cancel, () => tell({ do: 'cancel', key }), { className: 'link' });
    const ul = make('ul');
    const more = make('p', { className: 'more soft' });
    group = { heading, stop, ul, more, rows: new Map() };
    groups.set(key, group);
    list.prepend(make('section', {}, make('div', { className: 'head' }, heading, stop), ul, more));
  }
  const keep = new Set(rows.map((row) => row.id));
  for (const [id, row] of group.rows) {
    if (keep.has(id)) continue;
    row.element.remove();
    group.rows.delete(id);
  }
  rows.forEach((data, at) => {
    let row = group.rows.get(data.id);
    if (!row) {
      row = { icon: icon('file'), bar: make('i'), rate: 0, at: 0, sent: 0 };
      row.name = make('bdi', { className: 'name' });
      row.detail = make('span', { className: 'soft' });
      row.element = make('li', {}, row.icon, make('div', {}, row.name, row.detail), row.bar);
      group.rows.set(data.id, row);
    }
    if (group.ul.children[at] !== row.element) group.ul.insertBefore(row.element, group.ul.children[at] || null);
    const now = data.lost ? 'lost' : data.state;
    row.element.className = `row ${now}`;
    shape(row.icon, FILE_ICONS[now] || (data.kind === 'folder' || data.kind === 'text' ? data.kind : 'file'));
    say(row.name, shown(data.kind === 'text' && data.text ? data.text : data.path));
    const moving = ['sending', 'getting'].includes(now) && data.bytes;
    row.bar.style.transform = `scaleX(${moving ? Math.min(1, data.sent / data.bytes) : 0})`;
  });
  return group;
}

function detail(row, data) {
  const now = data.lost ? 'lost' : data.state;
  const bytes = data.kind === 'folder' ? words.folderKind : size(data.bytes);
  const moving = now === 'sending' || now === 'getting';
  if (moving && Date.now() - row.at > 900) {
    const rate = 1000 * Math.max(0, data.sent - row.sent) / (Date.now() - row.at);
    row.rate = row.at && row.rate ? 0.6 * row.rate + 0.4 * rate : row.at ? rate : 0;
    Object.assign(row, { at: Date.now(), sent: data.sent });
  }
  const parts = [moving ? words.of(size(data.sent), bytes) : bytes];
  if (moving && ['sending', 'outbox'].includes(state)) parts.push(...pace(row.rate, data.bytes - data.sent));
  if (now && !moving) parts.push(words.file[now]);
  if (data.name && data.name !== data.path) parts.push(words.as(shown(data.name)));
  if (data.reason) parts.push(shown(data.reason));
  say(row.detail, parts.join(' · '));
}

function renderTransfers() {
  for (const t of view.transfers) {
    const group = section(t.key, t.rows);
    for (const data of t.rows) detail(group.rows.get(data.id), data);
    const outcome = t.state === 'finished' && t.failed ? 'failed' : t.state;
    say(group.heading, `${words.count(t.files)} · ${words.group[outcome]}`);
    group.stop.hidden = footer.hidden || !['new', 'asking', 'accepted'].includes(t.state);
    group.more.hidden = t.more < 1;
    say(group.more, words.more(t.more.toLocaleString()));
  }
}

function renderItems() {
  const rows = view.items.filter((item) => item.kind !== 'folder' && item.id !== 'all');
  if (!rows.length) return;
  const group = section('outbox', rows.map((item) => ({ ...item, sent: item.have })));
  group.stop.hidden = true;
  say(group.heading, `${words.count(view.status.files)} · ${size(view.status.bytes)}`);
  for (const item of rows) {
    const row = group.rows.get(item.id);
    detail(row, { ...item, sent: item.have });
    if (warned.has(item.id) && !item.state) say(row.detail, words.large(size(view.status.sealed_max)));
    if (!row.button) row.element.append(row.button = button('', () => act(item.id)));
    say(row.button, label(item));
    row.button.setAttribute('aria-label', `${label(item)} ${shown(item.path)}`);
    row.button.disabled = ['queued', 'getting', 'asking'].includes(item.state);
  }
  const more = view.count - 1 - view.items.length;
  group.more.hidden = more < 1;
  say(group.more, words.more(more.toLocaleString()));
  if (!view.all) return;
  all.disabled = ['queued', 'getting', 'asking'].includes(view.all.state);
  say(all, view.all.state ? words.file[view.all.state] : warned.has('all') ? words.open : words.all);
  if (warned.has('all') && !view.all.state) say(statusText, words.large(size(view.status.sealed_max)));
  statusText.hidden = !statusText.textContent;
}

const label = (item) => item.state === 'saved' ? words.save : ['failed', 'refused'].includes(item.state) ? words.retry
  : warned.has(item.id) ? words.open : words.get;

/** A tap on a download. What is too large to be opened here goes by a link; on http only after a second tap. */
function act(id) {
  const item = id === 'all' ? view.all : view.items.find((one) => one.id === id);
  if (saved.has(id)) return save(saved.get(id));
  if (item.bytes <= view.status.sealed_max) return tell({ do: 'get', id });
  if (view.status.secure || warned.has(id)) return tell({ do: 'link', id });
  warned.add(id);
  return render();
}

function save({ href, name }) {
  const anchor = make('a', { href, download: name });
  document.body.append(anchor);
  anchor.click();
  anchor.remove();
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

const fileItem = (file) => ({ blob: file, path: file.webkitRelativePath || file.name, kind: 'file' });

/** In parts: a hundred thousand files in one message would hold the page up. */
async function add(items) {
  for (let at = 0; at < items.length; at += 1000) {
    tell({ do: 'add', items: items.slice(at, at + 1000), last: at + 1000 >= items.length });
    if (at) await new Promise((resolve) => setTimeout(resolve));
  }
}

function writeText() {
  const value = text.value;
  text.value = '';
  sendText.disabled = true;
  if (!value) return;
  const blob = new Blob([value]);
  add([blob.size <= 65536 ? { kind: 'text', path: 'text.txt', text: value } : { kind: 'file', path: 'text.txt', blob }]);
}

async function walk(entry, found) {
  const path = entry.fullPath.slice(1);
  if (entry.isFile) {
    const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
    if (file) found.push({ blob: file, path, kind: 'file' });
    return;
  }
  const reader = entry.createReader();
  let empty = true;
  const next = () => new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
  for (let batch; (batch = await next()).length; empty = false) {
    for (const child of batch) await walk(child, found);
  }
  if (empty) found.push({ path, kind: 'folder' });
}

async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry && item.webkitGetAsEntry()).filter(Boolean);
  const found = [];
  for (const entry of entries) await walk(entry, found);
  add(entries.length ? found : [...transfer.files].map(fileItem));
}

const takes = () => view.status && view.status.role === 'inbox';
text.oninput = () => { sendText.disabled = !text.value; };
addEventListener('paste', (event) => {
  if (!takes()) return;
  const files = [...event.clipboardData.files];
  if (files.length) add(files.map(fileItem));
  else if (event.target !== text) {
    text.value = event.clipboardData.getData('text/plain');
    text.oninput();
    text.focus();
  } else return;
  event.preventDefault();
});
for (const name of ['dragover', 'dragleave', 'drop']) {
  addEventListener(name, (event) => {
    event.preventDefault();
    document.body.classList.toggle('over', name === 'dragover' && !!takes());
    if (name === 'drop' && takes()) dropped(event.dataTransfer);
  });
}

// ---- the engine, and what keeps it going

let tell = () => {};

function hear(message) {
  if (message.is === 'keep') keep(message);
  if (message.is === 'view') {
    view = message;
    render();
  }
  if (message.is === 'save') {
    const name = message.path.split('/').pop().replace(HIDDEN, '_');
    saved.set(message.id, { href: URL.createObjectURL(message.blob), name });
    save(saved.get(message.id));
  }
  if (message.is === 'link') save({ href: message.path, name: '' });
}

function begin(message) {
  let worker = null;
  const inPage = () => {
    if (!worker) return;
    worker.terminate();
    worker = null;
    tell = startEngine(hear);
    tell(message);
  };
  try {
    const source = document.scripts[0].textContent;
    worker = new Worker(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })));
  } catch (_) {
    worker = { terminate() {} };
    return inPage();
  }
  worker.onmessage = ({ data }) => data.is === 'blocked' ? inPage() : hear(data);
  worker.onerror = inPage;
  tell = (order) => worker.postMessage(order);
  tell(message);
}

function keep({ id, secret }) {
  try {
    sessionStorage.setItem('qrdrop', JSON.stringify({ id, secret }));
  } catch (_) {
    // Storage may be forbidden: then a reload needs a new scan.
  }
}

function kept() {
  try {
    return JSON.parse(sessionStorage.getItem('qrdrop'));
  } catch (_) {
    return null;
  }
}

async function renewLock() {
  const wanted = state === 'sending' && !document.hidden;
  if (!navigator.wakeLock || wanted === !!lock) return;
  if (lock) lock.release();
  lock = wanted ? await navigator.wakeLock.request('screen').catch(() => null) : null;
  if (lock) lock.onrelease = () => { lock = null; };
}

const wake = () => {
  tell({ do: 'wake' });
  renewLock();
};
addEventListener('online', wake);
addEventListener('pageshow', (event) => { if (event.persisted) wake(); });
document.addEventListener('visibilitychange', () => { if (!document.hidden) wake(); });
addEventListener('beforeunload', (event) => { if (BUSY.includes(state)) event.preventDefault(); });
addEventListener('hashchange', () => location.reload());
setInterval(() => {
  if (!document.hidden && view.state === 'ready' && !BUSY.includes(state)) tell({ do: 'ping' });
}, 30e3);

const code = /^#1([\w-]{42}[AEIMQUYcgkosw048])$/.exec(location.hash);
const memory = kept();
history.replaceState(null, '', location.pathname);
if (code || memory) {
  const payload = code && atob(code[1].replace(/-/g, '+').replace(/_/g, '/'));
  const token = payload && hex(Uint8Array.from(payload.slice(0, 16), (byte) => byte.charCodeAt(0)));
  begin({ do: 'start', origin: location.origin, host: location.host, token, kept: memory, device: device() });
} else view.state = 'needs-code';
render();
}
