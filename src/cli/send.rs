//! `qrdrop send`: what is offered, to whom, and how it came out.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::args::{Common, Send};
use super::chat::{Means, OwnSeat, Stay, beside, interrupted_while_busy, left, left_by};
use super::doctor::POINTER;
use super::hosting::{Display, Door, Hosted, Left, Purpose, is_seen};
use super::optimizing::{self, Ready};
use super::target::{self, Receiver};
use super::{
    Done, Ended, Failed, Ways, disk, failed, interruptions, made, network, open_devices, open_state, shown_name,
    unusable,
};
use crate::events::{Event, ExitCode, Failure, Reporter};
use crate::names::{human_bytes, inert};
use crate::net::addresses::candidates;
use crate::net::discovery::Kind;
use crate::optimize::Wishes;
use crate::session::{ClassicSender, Devices, Known, Memory, Outbox, OutboxRules, RoomHost, Sender, check_text};
use crate::store::{LeftOut, SourceEntry, SourceKind, SourceList, Spool, Walk, WalkOptions, walk};
use crate::transfer::{Brake, Manner, Piped, TAKERS, Taker};
use crate::ui::Ui;
use crate::web::{Share, Web};
use crate::wire::Role;

/// Sends to one receiver, or lets others fetch.
pub(super) async fn run(send: Send, common: &Common, ui: &Arc<Ui>, ways: &Ways) -> Ended {
    let interrupted = interruptions(ui);
    let memory = open_state(common)?;
    let devices = open_devices(common, send.hosting.remember)?;
    let known = devices.known().map_err(|error| unusable(&error))?;
    if let Some(text) = &send.text {
        check_text(text).map_err(failed)?;
    }
    let options = WalkOptions { follow_links: send.follow_links };
    let (piped, paths): (Vec<PathBuf>, Vec<PathBuf>) =
        send.paths.iter().cloned().partition(|path| path == Path::new("-"));
    if !piped.is_empty() && send.to.iter().any(|to| to == "-") {
        let message = "standard input can't hold both the link and what is sent";
        return Err(failed(Failure::new(
            ExitCode::Usage,
            message,
            "put the link into a file, and name it with `--to @FILE`",
        )));
    }
    if send.chat && (!piped.is_empty() || send.to.iter().any(|to| to == "-")) {
        let message = "with `--chat`, standard input is what is said";
        return Err(failed(Failure::new(ExitCode::Usage, message, "name files, and the link with `--to @FILE`")));
    }
    let walked = tokio::task::spawn_blocking(move || walk(&paths, &options)).await;
    let walked =
        walked.map_err(|_| failed(Failure::new(ExitCode::Internal, "the sources could not be listed", "report it")))?;
    let mut walked = walked.map_err(|error| disk(&error))?;
    for unreadable in &walked.unreadable {
        ui.say(&format!("can't be read, left out: {} ({})", shown(unreadable), unreadable.reason));
    }
    let unreadable = walked.unreadable.first().map(|first| {
        let count = walked.unreadable.len();
        let message = format!("{count} could not be read, first `{}`: {}", shown(first), first.reason);
        Failure::new(ExitCode::Local, message, "everything else was sent; check its permissions")
    });
    let reporter = &ways.outgoing;
    let mut sending =
        Sending { send: &send, common, ui, ways, reporter, memory, devices, known, interrupted, piped: None };
    let mut spooled = None;
    if !piped.is_empty() {
        // What is to be made smaller has to be there whole.
        if !sending.reads_once() || !sending.wishes().is_empty() {
            let (spool, entry) = sending.spool().await?;
            walked.entries.push(entry);
            spooled = Some(spool);
        } else {
            sending.piped = Some(Arc::new(Piped::new(send.name_as.as_str(), std::io::stdin())));
        }
    }
    let several = send.all || send.to.len() > 1;
    if send.chat && several {
        let message = "`--chat` is for one room at a time";
        return Err(failed(Failure::new(ExitCode::Usage, message, "name one receiver with `--to`")));
    }
    let named = if several { None } else { sending.named().await? };
    if named.is_none() && !several {
        sending.is_seen()?;
    }
    let wanted = match send.all {
        true => sending.remembered().await?,
        false => send.to.iter().cloned().map(Wanted::Named).collect(),
    };
    let Some(Ready { walked, scratch }) = sending.optimized(walked).await? else {
        return Ok(Done::with(ExitCode::Interrupted, "interrupted before anything was offered"));
    };
    let done = match named {
        Some(receiver) => {
            let left_out = left_out(&walked);
            sending.to(Arc::new(walked.entries), left_out, &receiver).await
        }
        None if several => sending.to_several(walked, wanted).await,
        None => sending.host(walked).await,
    };
    // What stood in for files is no longer read.
    drop((scratch, spooled));
    let done = done?;
    match unreadable {
        Some(failure) if done.code == ExitCode::Ok => Err(failed(failure)),
        _ => Ok(done),
    }
}

fn shown(left: &LeftOut) -> String {
    inert(&left.path.to_string_lossy())
}

/// One of several receivers.
enum Wanted {
    /// As the command line names it.
    Named(String),
    /// Found already.
    Found(Receiver),
}

struct Sending<'a> {
    send: &'a Send,
    common: &'a Common,
    ui: &'a Arc<Ui>,
    ways: &'a Ways,
    reporter: &'a Arc<dyn Reporter>,
    memory: Memory,
    devices: Devices,
    /// Those that were remembered at the start.
    known: Known,
    interrupted: watch::Receiver<bool>,
    /// Standard input, where it is sent as it comes.
    piped: Option<Arc<Piped>>,
}

impl Sending<'_> {
    /// Whether what is sent is read once, and nobody has to know its size before: then standard input need not be kept.
    fn reads_once(&self) -> bool {
        let one = self.send.to.len() == 1 || self.send.scan.is_some();
        one && !self.send.classic
    }

    /// Reads standard input to its end, into a file for this user alone.
    async fn spool(&self) -> Result<(Spool, SourceEntry), Failed> {
        let (state, name) = (self.common.state_dir.clone(), self.send.name_as.clone());
        let spooling = tokio::task::spawn_blocking(move || Spool::of(state.as_deref(), &name, std::io::stdin()));
        let mut interrupted = self.interrupted.clone();
        tokio::select! {
            spooled = spooling => {
                let spooled = spooled
                    .map_err(|_| failed(Failure::new(ExitCode::Internal, "standard input could not be read", "report it")))?;
                spooled.map_err(|error| disk(&error))
            }
            _ = interrupted.wait_for(|interrupted| *interrupted) => {
                Err(failed(Failure::new(ExitCode::Interrupted, "interrupted", "")))
            }
        }
    }

    fn interface(&self) -> Option<&str> {
        self.common.interface.as_deref()
    }

    /// The receiver that the command line names.
    async fn named(&self) -> Result<Option<Receiver>, Failed> {
        match (self.send.to.first(), &self.send.scan) {
            (Some(to), _) => target::named(to, Kind::Inbox, self.interface(), &self.known).await.map(Some),
            (None, Some(picture)) => target::pictured(picture).await.map(Some),
            (None, None) if self.send.classic => {
                let chosen = target::chosen(self.ui, self.interface(), &self.known).await;
                match chosen.map_err(|error| network(ExitCode::Nobody, &error))? {
                    Some(receiver) => receiver.map(Some),
                    None => {
                        Err(failed(Failure::new(ExitCode::Nobody, "no receiver was chosen", "name it with `--to`")))
                    }
                }
            }
            (None, None) => Ok(None),
        }
    }

    /// The remembered receivers that are here; the others are said.
    async fn remembered(&self) -> Result<Vec<Wanted>, Failed> {
        let (here, absent) = target::remembered(&self.known, self.interface()).await?;
        if !absent.is_empty() {
            self.ui.say(&format!("not here: {}", absent.join(", ")));
        }
        Ok(here.into_iter().map(Wanted::Found).collect())
    }

    async fn to(&self, entries: Arc<SourceList>, left_out: Vec<(String, String)>, receiver: &Receiver) -> Ended {
        if self.send.classic {
            return classic(&entries, receiver, self.manner().brake, self.source()?, Arc::clone(self.reporter)).await;
        }
        let sender = self.sender(entries, left_out, self.manner())?;
        let means = self.means()?.map(|means| means.known_by(&sender.identity));
        let (met, target, interrupted) = (sender.met.subscribe(), &receiver.target, self.interrupted.clone());
        let sending = async move { sender.send(target, None, interrupted).await };
        beside(means, &**self.reporter, target, met, sending, "everything is sent").await
    }

    /// Sends to each at its own pace. What is read for one of them is there for all.
    async fn to_several(&self, walked: Walk, all: Vec<Wanted>) -> Ended {
        let count = all.len();
        if self.send.classic {
            let message = "the tutorial's protocol is spoken to one receiver at a time";
            return Err(failed(Failure::new(ExitCode::Usage, message, "name one with `--to`")));
        }
        if count > TAKERS {
            let message = format!("{count} receivers are more than the {TAKERS} that one command sends to");
            return Err(failed(Failure::new(ExitCode::Usage, message, "send to the others with another command")));
        }
        let (left_out, entries, manner) = (left_out(&walked), Arc::new(walked.entries), self.manner());
        let mut sending = JoinSet::new();
        for (place, (taker, wanted)) in Taker::several(count).into_iter().zip(all).enumerate() {
            let sender = self.sender(Arc::clone(&entries), left_out.clone(), manner.clone())?;
            let (only, known) = (self.common.interface.clone(), self.known.clone());
            let (reporter, interrupted) = (Arc::clone(self.reporter), self.interrupted.clone());
            sending.spawn(async move {
                let receiver = match wanted {
                    Wanted::Named(name) => target::named(&name, Kind::Inbox, only.as_deref(), &known).await,
                    Wanted::Found(receiver) => Ok(receiver),
                };
                let sent = match receiver {
                    Ok(receiver) => sender.send(&receiver.target, Some(taker), interrupted).await,
                    Err(failed) => Err(failed),
                };
                let code = sent.as_ref().err().map(|(_, failure)| failure.code);
                if let Err((transfer, failure)) = sent {
                    reporter.tell(Event::Failed { transfer, failure });
                }
                (place, code)
            });
        }
        let mut failures: Vec<_> = sending.join_all().await.into_iter().filter(|(_, code)| code.is_some()).collect();
        failures.sort_unstable_by_key(|(place, _)| *place);
        let well = count - failures.len();
        Ok(match failures.first() {
            Some((_, Some(code))) => Done::with(*code, &format!("{well} of {count} receivers have everything")),
            _ => Done::well("everything is sent to all"),
        })
    }

    /// The address to send from, if an interface was asked for.
    fn source(&self) -> Result<Option<IpAddr>, Failed> {
        let Some(only) = self.interface() else { return Ok(None) };
        let found = candidates(Some(only)).map_err(|error| network(ExitCode::Local, &error))?;
        Ok(found.first().map(|candidate| candidate.ip))
    }

    fn sender(
        &self,
        entries: Arc<SourceList>,
        left_out: Vec<(String, String)>,
        manner: Manner,
    ) -> Result<Sender, Failed> {
        Ok(Sender {
            identity: made(self.devices.identity(None, &[]))?,
            devices: self.devices.clone(),
            name: shown_name(self.common),
            left_out,
            entries,
            text: self.send.text.clone(),
            piped: self.piped.clone(),
            manner,
            lanes: self.send.lanes,
            retry: self.send.retry,
            memory: self.memory.clone(),
            source: self.source()?,
            reporter: Arc::clone(self.reporter),
            met: watch::Sender::default(),
        })
    }

    /// What this end brings into a room, if it wants to talk.
    fn means(&self) -> Result<Option<Means>, Failed> {
        if !self.send.chat {
            return Ok(None);
        }
        let (here, expose) = (Path::new("."), self.send.hosting.expose);
        Means::new(self.common, self.ui, self.ways, here, expose, self.interrupted.clone()).map(Some)
    }

    fn manner(&self) -> Manner {
        let brake = self.send.limit.map(|rate| Arc::new(Brake::new(rate)));
        Manner { compress: self.send.compress.into(), brake }
    }

    /// Whether somebody could come.
    fn is_seen(&self) -> Result<(), Failed> {
        if is_seen(&self.send.hosting, self.ui) {
            return Ok(());
        }
        Err(failed(Failure::new(
            ExitCode::Nobody,
            "nobody could see the invitation: there is no terminal to draw it on",
            "name a receiver with `--to` or `--scan`, or let others fetch with `--invite-file`, `--qr-png` or \
             `--qr always`",
        )))
    }

    fn wishes(&self) -> Wishes {
        let send = self.send;
        Wishes {
            images: send.optimize_images || send.max_edge.is_some(),
            pdfs: send.optimize_pdfs,
            max_edge: send.max_edge,
            strip_location: send.strip_location,
        }
    }

    /// What is sent in place of what was walked; `None` if it was interrupted.
    async fn optimized(&self, walked: Walk) -> Result<Option<Ready>, Failed> {
        let wishes = self.wishes();
        if wishes.is_empty() {
            return Ok(Some(Ready { walked, scratch: None }));
        }
        let state = self.common.state_dir.as_deref();
        let ready = optimizing::run(walked, wishes, state, self.ui, self.reporter, self.interrupted.clone()).await?;
        match ready {
            Some(ready) if ready.walked.entries.is_empty() && self.send.text.is_none() => Err(failed(Failure::new(
                ExitCode::Local,
                "nothing is left to send: no location could be removed",
                "convert the pictures to JPEG, or send them with their location, without `--strip-location`",
            ))),
            ready => Ok(ready),
        }
    }

    /// Lets others fetch; a person may also choose a receiver from those nearby, who then gets it.
    async fn host(&self, walked: Walk) -> Ended {
        let (hosting, ui) = (&self.send.hosting, self.ui);
        let (memory, known) =
            self.memory.outbox(&walked.entries, self.send.text.as_deref()).map_err(|error| disk(&error))?;
        let known = known.as_ref().map(|key| key.as_slice());
        let door = Door::open(hosting, self.common, ui, self.reporter, Role::Outbox, false, known)?;
        let by_link = match self.send.chat {
            false => "qrdrop receive --from LINK",
            true => "qrdrop receive --from LINK --chat",
        };
        let offers = Some(offers(&walked, self.send.text.is_some()));
        let display = Display { directory: None, offers, nearby: None, by_link };
        let yes = hosting.yes.map(Into::into);
        let mut seat = self.means()?.map(|means| {
            let room = RoomHost::new(Arc::clone(&door.host), yes);
            OwnSeat::take(room, &door, means)
        });
        let rules = OutboxRules { yes, keep: self.send.keep, manner: self.manner() };
        let (left_out, entries) = (left_out(&walked), Arc::new(walked.entries));
        let (offered, unsent, text) = (Arc::clone(&entries), left_out.clone(), self.send.text.clone());
        let outbox = Outbox::new(Arc::clone(&door.host), offered, unsent, text, rules, memory);
        let web = Web::new(Share::Outbox(Arc::clone(&outbox)), hosting.https);
        let purpose = Purpose {
            hosted: Hosted::Outbox(Arc::clone(&outbox)),
            web,
            first_ends: !self.send.keep,
            single_keys: seat.is_none(),
            display,
            errands: self.ways.errands.clone(),
        };
        // Who types lines has no list to choose from.
        let otherwise = async {
            match &mut seat {
                Some(seat) => {
                    seat.talk().await;
                    None
                }
                None => Some(self.picked().await),
            }
        };
        let attended = door.attend(purpose, self.interrupted.clone(), otherwise).await?;
        let Stay { busy, lost, .. } = left_by(seat).await;
        let nobody = |message: &str, hint: &str| Err(failed(Failure::new(ExitCode::Nobody, message, hint)));
        if attended.succeeded && attended.failed.is_none() {
            outbox.forget();
        }
        match attended.left {
            Left::Asked | Left::Otherwise(None) if attended.under_way || busy => Ok(interrupted_while_busy()),
            Left::Done | Left::Asked | Left::NobodyCame | Left::Otherwise(None) if lost.is_some() => Ok(left(lost)),
            Left::Done => Ok(Done::well("everything was fetched")),
            Left::GivenUp(code) => Ok(Done::with(code, "pairing failed")),
            Left::Otherwise(Some(receiver)) => self.to(entries, left_out, &receiver?).await,
            Left::Asked | Left::NobodyCame | Left::Otherwise(None) if attended.succeeded => Ok(left(None)),
            Left::Asked | Left::Otherwise(None) => {
                nobody("nobody has fetched everything", "leave it running until somebody has, or use `--to`")
            }
            Left::NobodyCame => nobody("nobody came in time", &format!("start again, or raise `--timeout`; {POINTER}")),
        }
    }

    /// The receiver that a person chooses while the code is on the screen; never, where there is no terminal or the
    /// person turns away from the list.
    async fn picked(&self) -> Result<Receiver, Failed> {
        if self.ui.has_terminal() {
            match target::chosen(self.ui, self.interface(), &self.known).await {
                Ok(Some(receiver)) => return receiver,
                Ok(None) => {}
                Err(error) => self.ui.say(&format!("receivers nearby can't be listed: {error}")),
            }
        }
        std::future::pending().await
    }
}

fn offers(walked: &Walk, text: bool) -> String {
    let bytes = walked.entries.bytes().unwrap_or(u64::MAX);
    match (walked.entries.files(), text) {
        (0, true) => "a text".to_owned(),
        (1, _) => format!("1 file, {}", human_bytes(bytes)),
        (files, _) => format!("{files} files, {}", human_bytes(bytes)),
    }
}

/// What is not sent, as (name, reason).
pub(super) fn left_out(walked: &Walk) -> Vec<(String, String)> {
    let all = walked.left_out.iter().chain(&walked.unreadable);
    all.map(|left| (shown(left), left.reason.clone())).collect()
}

/// The tutorial's protocol has room for one file.
async fn classic(
    entries: &SourceList,
    receiver: &Receiver,
    brake: Option<Arc<Brake>>,
    source: Option<IpAddr>,
    reporter: Arc<dyn Reporter>,
) -> Ended {
    if receiver.classic == Some(false) {
        return Err(failed(Failure::new(
            ExitCode::Refused,
            "that receiver does not take the tutorial's protocol",
            "send without `--classic`",
        )));
    }
    let only = entries.get(0).filter(|entry| entries.len() == 1 && entry.kind == SourceKind::File);
    let Some(entry) = only else {
        return Err(failed(Failure::new(
            ExitCode::Usage,
            "the tutorial's protocol carries one file at a time",
            "send one file, or pack the folder first",
        )));
    };
    ClassicSender { entry: SourceEntry::clone(&entry), brake, source, reporter }.send(&receiver.addresses()).await?;
    Ok(Done::well("everything is sent"))
}
