//! Two ends of a transfer, and everything between them.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::mpsc::{self, channel};

use super::ends::{Sending, Thing, arrive};
use super::{Bounds, disk};
use crate::names::RelPath;
use crate::session::offer::{Judged, verdicts};
use crate::session::there::There;
use crate::store::{Folder, IfExists, Intake, Keepsake, PlannedEntry, PlannedKind, SourceList, WalkOptions, walk};
use crate::transfer::{Compress, Hash, HeldFiles, Incoming, Manner, Outcome, Outgoing, Receipts, Sources};
use crate::wire::{Fault, Message, Verdict, Verdicts};

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A session begins; whoever is not there is started.
    Meet,
    /// A further lane.
    Open,
    /// The next thing on this lane arrives.
    Arrive(usize),
    /// The next word about this lane arrives.
    Hear(usize),
    /// This lane breaks at the sender; what is on its way may still arrive.
    CutHere(usize),
    /// The receiver lets go of this lane; what is on its way is lost.
    CutThere(usize),
    /// The same within the next thing.
    CutWithin(usize),
    /// What the receiver said next on the control connection arrives.
    Told,
    /// The receiver has said all, and closes its books.
    Finish,
    /// The control connection is cut: both ends let go of the session.
    Part,
    /// Killed.
    SenderDies,
    /// Killed: what it has written is on the disk.
    ReceiverDies,
    /// The source is another one, of the same size and time.
    Change,
}

/// What is the same on every way.
pub(super) struct Room {
    place: TempDir,
    /// Of each version, of each file.
    hashes: [Vec<Hash>; 2],
    contents: [Vec<Vec<u8>>; 2],
    on_disk: Cell<Option<usize>>,
}

/// On the receiver's way to the sender.
enum Word {
    Stored(u32, Hash),
    NotStored(u32, Fault),
    Lost(u16),
}

struct Sender {
    entries: Arc<SourceList>,
    version: usize,
    acknowledged: HashMap<u32, Hash>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    Reads,
    Ended,
    LetGo,
}

struct Lane {
    number: u16,
    here: Sending,
    there: Reader,
    on_way: VecDeque<Thing>,
    words: VecDeque<Vec<u8>>,
    /// Said and not known to be taken.
    untaken: VecDeque<String>,
}

struct Session {
    outgoing: Arc<Outgoing>,
    incoming: Arc<Incoming>,
    intake: Arc<Intake>,
    outcomes: mpsc::Receiver<Outcome>,
    lanes: Vec<Lane>,
    opened: u16,
    lost: usize,
    control: VecDeque<Word>,
    /// Files without an outcome, and those of which the sender has not heard.
    pending: usize,
    awaited: BTreeSet<u32>,
    resumed: Vec<u32>,
    stale: bool,
    finished: bool,
    forbears: bool,
    arrived: BTreeSet<String>,
}

pub(super) struct World<'a> {
    room: &'a Room,
    folder: TempDir,
    version: usize,
    sender: Option<Sender>,
    receiver: Option<Arc<Folder>>,
    session: Option<Session>,
    believed: BTreeMap<u32, Hash>,
    stored: usize,
    faults: usize,
}

impl Room {
    /// Two versions of files of these sizes.
    pub(super) fn new(sizes: &[u64]) -> Room {
        // Nothing here is about disks.
        let place = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let contents = [0u8, 1].map(|version| {
            let content = |size: &u64| {
                let mut content: Vec<u8> = (0..*size).map(|at| (at * 31 % 251) as u8).collect();
                let middle = content.len() / 2;
                content[middle] ^= version;
                content
            };
            sizes.iter().map(content).collect::<Vec<_>>()
        });
        let hashes = [0, 1].map(|version: usize| {
            contents[version].iter().map(|content: &Vec<u8>| *blake3::hash(content).as_bytes()).collect()
        });
        fs::create_dir(place.path().join("source")).unwrap();
        Room { place, hashes, contents, on_disk: Cell::new(None) }
    }

    fn paths(&self) -> Vec<PathBuf> {
        (0..self.contents[0].len()).map(|id| self.place.path().join(format!("source/f{id}"))).collect()
    }

    /// Makes the source this version; size and time are those of the other.
    fn put(&self, version: usize) {
        if self.on_disk.replace(Some(version)) == Some(version) {
            return;
        }
        for (path, content) in self.paths().iter().zip(&self.contents[version]) {
            fs::write(path, content).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
            File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        }
    }

    /// Which version of that file this is.
    fn version_of(&self, id: u32, hash: &Hash) -> Option<usize> {
        (0..2).find(|version| self.hashes[*version][id as usize] == *hash)
    }
}

impl<'a> World<'a> {
    /// The world after these steps.
    pub(super) fn after(room: &'a Room, path: &[Step]) -> World<'a> {
        room.put(0);
        let folder = tempfile::tempdir_in(room.place.path()).unwrap();
        let (sender, receiver, session) = (None, None, None);
        let (believed, stored, faults, version) = (BTreeMap::new(), 0, 0, 0);
        let mut world = World { room, folder, version, sender, receiver, session, believed, stored, faults };
        for step in path {
            world.take(*step);
        }
        world
    }

    /// Whether the sender knows everything to be stored.
    pub(super) fn is_over(&self) -> bool {
        self.believed.len() == self.room.contents[0].len()
    }

    /// What may happen next.
    pub(super) fn steps(&self, bounds: Bounds, path: &[Step]) -> Vec<Step> {
        if self.is_over() {
            return Vec::new();
        }
        let may_fail = self.faults < bounds.faults;
        let mut steps = Vec::new();
        if bounds.changes && !path.is_empty() && !path.contains(&Step::Change) {
            steps.push(Step::Change);
        }
        let Some(session) = &self.session else {
            steps.push(Step::Meet);
            return steps;
        };
        let open = session.lanes.iter().filter(|lane| lane.here.is_waiting()).count();
        if open == 0 || (open < bounds.lanes && session.spare_lanes(bounds) > 0) {
            steps.push(Step::Open);
        }
        for (at, lane) in session.lanes.iter().enumerate() {
            let (waits, reads, lost) = (lane.here.is_waiting(), lane.there == Reader::Reads, lane.here.is_lost());
            let next = lane.on_way.front().filter(|_| reads);
            let possible = [
                (next.is_some(), Step::Arrive(at)),
                (next.is_some_and(|next| next.bytes.len() > 64) && may_fail, Step::CutWithin(at)),
                (waits && !lane.words.is_empty(), Step::Hear(at)),
                (waits && may_fail, Step::CutHere(at)),
                (lane.there != Reader::LetGo && (lost || (reads && may_fail)), Step::CutThere(at)),
            ];
            steps.extend(possible.into_iter().filter_map(|(possible, step)| possible.then_some(step)));
        }
        if !session.control.is_empty() {
            steps.push(Step::Told);
        }
        if session.pending == 0 && !session.finished {
            steps.push(Step::Finish);
        }
        if may_fail {
            steps.extend([Step::Part, Step::SenderDies, Step::ReceiverDies]);
        }
        steps
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Meet => self.meet(),
            Step::Open => self.session().open(),
            Step::Arrive(at) => {
                let lane = &mut self.session().lanes[at];
                let thing = lane.on_way.pop_front().unwrap();
                self.arrive(at, &thing.bytes);
                self.session().arrived.insert(thing.name);
            }
            Step::Hear(at) => {
                let lane = &mut self.session().lanes[at];
                let word = lane.words.pop_front().unwrap();
                lane.here.hear(&word);
                lane.untaken.pop_front();
                lane.gather();
            }
            Step::CutHere(at) => {
                self.faults += 1;
                self.session().lanes[at].here.cut();
            }
            Step::CutThere(at) => {
                self.faults += usize::from(!self.session().lanes[at].here.is_lost());
                self.session().let_go(at);
            }
            Step::CutWithin(at) => {
                self.faults += 1;
                let half = self.session().lanes[at].on_way[0].bytes.clone();
                self.arrive(at, &half[..half.len() / 2]);
                self.session().let_go(at);
            }
            Step::Told => self.told(),
            Step::Finish => {
                let session = self.session();
                session.intake.finish().unwrap();
                session.finished = true;
            }
            Step::Part => {
                self.faults += 1;
                self.part();
            }
            Step::SenderDies => {
                self.faults += 1;
                self.part();
                self.sender = None;
            }
            Step::ReceiverDies => {
                self.faults += 1;
                let salvaged = tempfile::tempdir_in(self.room.place.path()).unwrap();
                disk::link_all(self.folder.path(), salvaged.path());
                self.part();
                self.receiver = None;
                self.folder = salvaged;
            }
            Step::Change => {
                self.version = 1;
                self.room.put(1);
            }
        }
        if let Some(session) = &mut self.session {
            session.lanes.retain(|lane| lane.here.is_waiting() || lane.here.is_lost());
        }
        self.look_at_files();
    }

    fn session(&mut self) -> &mut Session {
        self.session.as_mut().expect("only within a session")
    }

    fn meet(&mut self) {
        let version = self.version;
        let sender = self.sender.get_or_insert_with(|| {
            let walk = walk(&self.room.paths(), &WalkOptions { follow_links: false }).unwrap();
            Sender { entries: Arc::new(walk.entries), version, acknowledged: HashMap::new() }
        });
        let folder = self.receiver.get_or_insert_with(|| Folder::open(self.folder.path()).unwrap());
        let entries = sender.entries.iter().enumerate();
        let plan = entries.map(|(id, entry)| PlannedEntry {
            id: id as u32,
            path: RelPath::from_stranger(&entry.offered).unwrap(),
            kind: PlannedKind::File,
            size: Some(entry.bytes),
            holes: 0,
            modified: entry.modified,
        });
        let keep = Keepsake { key: [7; 32], about: String::new() };
        let intake = Arc::new(folder.go_on(plan.collect::<Vec<_>>(), IfExists::Rename, &keep).unwrap());
        let size = |id: u32| Some(sender.entries.get(id).unwrap().bytes);
        let there = There::look(&intake, HeldFiles::default(), size);
        let (told, outcomes) = channel(10_000);
        let incoming = Arc::new(Incoming::new(Arc::clone(&intake), None, None, told).unwrap());
        let special: Vec<_> = there.verdicts().collect();
        there.hand_over(&incoming);
        let (sources, mut judged) = (Sources::from(Arc::clone(&sender.entries)), Judged::default());
        for page in verdicts(sources.count() as u32, special.into_iter()) {
            let mut bytes = Vec::new();
            page.encode(&mut bytes);
            judged.add(Verdicts::decode(&bytes).unwrap().runs, sources.count()).unwrap();
        }
        let judgement = judged.finish(&sources).unwrap();
        let resumed = judgement.special().filter(|(_, verdict)| matches!(verdict, Verdict::TakeRest(_)));
        let resumed = resumed.map(|(id, _)| id).collect();
        let wanted: Vec<_> = judgement.into_all().collect();
        let awaited: BTreeSet<u32> = wanted.iter().map(|(id, _)| *id).collect();
        let receipts = Arc::new(Receipts::default());
        for (id, hash) in &sender.acknowledged {
            receipts.note(*id, hash);
        }
        // What compressing costs is measured, and would come out another way each time.
        let manner = Manner { compress: Compress::Never, brake: None };
        let outgoing = Outgoing::new(sources, wanted, receipts, manner);
        self.believed.clear();
        self.stored = self.lines_of_stored();
        self.session = Some(Session {
            outgoing: Arc::new(outgoing),
            incoming,
            intake,
            outcomes,
            lanes: Vec::new(),
            opened: 0,
            lost: 0,
            control: VecDeque::new(),
            pending: awaited.len(),
            awaited,
            resumed,
            stale: false,
            finished: false,
            forbears: false,
            arrived: BTreeSet::new(),
        });
    }

    fn arrive(&mut self, at: usize, bytes: &[u8]) {
        let session = self.session();
        let word = arrive(&session.incoming, bytes);
        let lane = &mut session.lanes[at];
        if !word.is_empty() {
            if lane.on_way.is_empty() && bytes.len() == word.len() {
                // Nothing is as short as the end of a lane.
                lane.there = Reader::Ended;
            }
            lane.words.push_back(word);
        }
        self.hear_outcomes();
    }

    /// What became of the files that are whole now.
    fn hear_outcomes(&mut self) {
        loop {
            let session = self.session.as_mut().expect("only within a session");
            if let Ok(outcome) = session.outcomes.try_recv() {
                session.pending -= 1;
                let word = match outcome {
                    Outcome::Stored { id, placed, hash } => {
                        self.stored += 1;
                        self.is_whole(id, &placed.path, &hash);
                        Word::Stored(id, hash)
                    }
                    Outcome::Before { id, placed, hash, .. } => {
                        self.is_whole(id, &placed.path, &hash);
                        Word::Stored(id, hash)
                    }
                    Outcome::NotStored(not) => Word::NotStored(not.id, not.fault),
                    outcome => panic!("{outcome:?}"),
                };
                self.session().control.push_back(word);
            } else if session.incoming.is_committing() || self.lines_of_stored() > self.stored {
                thread::yield_now();
            } else {
                return;
            }
        }
    }

    /// P3, and what is told is so.
    fn is_whole(&self, id: u32, path: &Path, hash: &Hash) {
        assert!(self.room.version_of(id, hash).is_some(), "{id} is told as something that it never was");
        // A file is told of where its receiver put it, and that one may have died since.
        let path = self.folder.path().join(path.file_name().unwrap());
        assert_eq!(blake3::hash(&fs::read(path).unwrap()).as_bytes(), hash, "{id} is not what it is told as");
    }

    fn told(&mut self) {
        let sender = self.sender.as_mut().expect("only within a session");
        let session = self.session.as_mut().expect("only within a session");
        match session.control.pop_front().unwrap() {
            Word::Lost(number) => {
                if let Some(at) = session.lanes.iter().position(|lane| lane.number == number) {
                    let lane = session.lanes.remove(at);
                    lane.here.cut();
                    lane.here.is_lost();
                }
                session.outgoing.say_again(number);
                return;
            }
            Word::Stored(id, hash) => {
                assert_eq!(session.outgoing.take_hash(id), Some(hash), "{id} is acknowledged as another file");
                assert!(session.awaited.remove(&id));
                sender.acknowledged.insert(id, hash);
                assert_eq!(self.room.version_of(id, &hash), Some(sender.version), "{id} is not what was listed");
                self.believed.insert(id, hash);
            }
            Word::NotStored(id, fault) => {
                assert_eq!(fault, Fault::Sender, "{id} could not be stored");
                assert!(session.awaited.remove(&id));
                let is_stale = session.resumed.contains(&id) && !session.outgoing.has_failed(id);
                assert!(is_stale || session.outgoing.has_failed(id), "{id} is said to be bad, and is not");
                session.stale |= is_stale;
            }
        }
        if !session.awaited.is_empty() || self.believed.len() == self.room.contents[0].len() {
            return;
        }
        let (stale, failed) = (session.stale, !session.outgoing.take_failed().is_empty());
        assert!(stale || failed);
        if !session.finished {
            session.intake.finish().unwrap();
        }
        self.part();
        if failed {
            // A person is told, and begins anew.
            self.sender = None;
        }
    }

    /// Both ends let go of the session.
    fn part(&mut self) {
        let Some(Session { outgoing, incoming, intake, lanes, .. }) = self.session.take() else { return };
        drop((lanes, incoming));
        // The last to let go is this thread: by then everything that it lets go of is done.
        while Arc::strong_count(&intake) > 1 || Arc::strong_count(&outgoing) > 1 {
            thread::yield_now();
        }
        if !self.is_over() {
            self.believed.clear();
        }
    }

    /// P3: under a final name is one version of one file.
    fn look_at_files(&self) {
        for path in disk::visible(self.folder.path()) {
            let name = path.file_name().unwrap().to_string_lossy();
            let id = name[1..].chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap();
            let hash = *blake3::hash(&fs::read(&path).unwrap()).as_bytes();
            assert!(self.room.version_of(id, &hash).is_some(), "`{name}` is a mix");
        }
    }

    fn lines_of_stored(&self) -> usize {
        disk::journal(self.folder.path()).iter().filter(|line| line.get("stored").is_some()).count()
    }

    /// Everything by which two states can be told apart.
    pub(super) fn seen(&self, bounds: Bounds) -> String {
        let mut seen = format!("version {} faults {} believed {:?}", self.version, self.faults, self.believed.keys());
        if let Some(sender) = &self.sender {
            let acknowledged: BTreeSet<_> = sender.acknowledged.keys().collect();
            write!(seen, "\nsender of {} has {acknowledged:?}", sender.version).unwrap();
        }
        write!(seen, "\nreceiver {}", self.receiver.is_some()).unwrap();
        if let Some(session) = &self.session {
            session.seen(&mut seen, bounds);
        }
        let mut lines: Vec<_> = disk::journal(self.folder.path()).iter().map(Value::to_string).collect();
        lines.sort();
        let visible = disk::visible(self.folder.path()).into_iter().map(|path| {
            let hash = *blake3::hash(&fs::read(&path).unwrap()).as_bytes();
            (path.file_name().unwrap().to_owned(), hash[0])
        });
        write!(seen, "\n{:?}\n{}", visible.collect::<Vec<_>>(), lines.join("\n")).unwrap();
        seen
    }
}

impl Session {
    fn open(&mut self) {
        let (number, there) = (self.opened, Reader::Reads);
        self.opened += 1;
        let here = Sending::start(&self.outgoing, number);
        let (on_way, words, untaken) = Default::default();
        let mut lane = Lane { number, here, there, on_way, words, untaken };
        lane.gather();
        self.lanes.push(lane);
    }

    /// The receiver lets go of a lane, and says so.
    fn let_go(&mut self, at: usize) {
        let lane = &mut self.lanes[at];
        lane.there = Reader::LetGo;
        lane.on_way.clear();
        self.forbears = true;
        self.lost += 1;
        self.incoming.forbear();
        self.control.push_back(Word::Lost(lane.number));
    }

    /// Lanes that may still be opened while others are open.
    fn spare_lanes(&self, bounds: Bounds) -> usize {
        (bounds.lanes + self.lost).saturating_sub(self.opened.into())
    }

    fn seen(&self, seen: &mut String, bounds: Bounds) {
        let mut lanes: Vec<String> = self
            .lanes
            .iter()
            .map(|lane| {
                let on_way: Vec<&str> = lane.on_way.iter().map(|thing| thing.name.as_str()).collect();
                let (waits, untaken) = (lane.here.is_waiting(), &lane.untaken);
                format!("lane {waits} {:?} {on_way:?} {} words {untaken:?}", lane.there, lane.words.len())
            })
            .collect();
        lanes.sort();
        let control = self.control.iter().map(|word| match word {
            Word::Stored(id, hash) => format!("stored {id} {:02x}", hash[0]),
            Word::NotStored(id, fault) => format!("not stored {id} {fault:?}"),
            Word::Lost(number) => {
                let lane = self.lanes.iter().find(|lane| lane.number == *number);
                format!("lost {:?}", lane.map(|lane| &lane.untaken))
            }
        });
        let control: Vec<String> = control.collect();
        let (out, come) = (self.outgoing.bytes(), self.incoming.bytes());
        let spare = self.spare_lanes(bounds);
        write!(
            seen,
            "\nsession {out} {come} {spare} {control:?} {} {:?} {:?} {} {} {} {:?}\n{}",
            self.pending,
            self.awaited,
            self.resumed,
            self.stale,
            self.finished,
            self.forbears,
            self.arrived,
            lanes.join("\n")
        )
        .unwrap();
    }
}

impl Lane {
    /// Puts what the sender has said on its way.
    fn gather(&mut self) {
        for thing in self.here.take_said() {
            self.untaken.push_back(thing.name.clone());
            self.on_way.push_back(thing);
        }
    }
}
