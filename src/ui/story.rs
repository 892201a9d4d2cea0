//! What happened, as sentences: one log line for each thing worth one, and a shorter one for the panel.

use std::time::SystemTime;

use crate::events::{Dialect, Event, Failure, Finding, Label, RoomOffer, Speaker, Verdict};
use crate::names::{human_bytes, human_duration, human_rate};
use crate::ui::progress::{Transfer, Transfers};
use crate::ui::prompt::{A_TEXT, called, contents, spaced};
use crate::ui::style::{Style, files, grouped, one_line, padded, quoted, wrapped};

/// Longest name in a log line; beyond, the middle is left out.
const NAME: usize = 60;

/// Longest message of a peer or of an error in a log line.
const MESSAGE: usize = 1_000;

/// Lines of a text that are shown; the rest is counted.
const TEXT_LINES: usize = 200;

/// Columns of the words of a finding: 80 with the mark and the word before them.
const FINDING: usize = 65;

/// Lines of a message that are shown below its first; the rest is counted. A pasted page does not push everything else
/// off the screen.
const MESSAGE_LINES: usize = 15;

/// What an event is worth.
#[derive(Default)]
pub(super) struct Told {
    /// Lines for the log.
    pub(super) log: Vec<String>,
    /// The same in few words, for the panel beside the code.
    pub(super) short: Option<String>,
    /// Told even to those who want silence.
    pub(super) urgent: bool,
}

/// How much is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Detail {
    /// Every stored file and every transition.
    pub(super) verbose: bool,
    /// There is a region that shows progress and offers, so the log need not.
    pub(super) live: bool,
}

/// Tells `event`. `ended` is the transfer that it ended.
pub(super) fn tell(
    event: &Event,
    transfers: &mut Transfers,
    ended: Option<&Transfer>,
    folder: Option<&str>,
    style: Style,
    detail: Detail,
) -> Told {
    let mut told = Told::default();
    match event {
        Event::Listening { name, address, interface, directory, discoverable, .. } if !detail.live => {
            let into =
                directory.as_ref().map_or_else(String::new, |path| format!(", into {}", one_line(path, MESSAGE)));
            let seen = if *discoverable { "" } else { ", not announced" };
            told.log.push(format!("listening on {address} ({interface}) as {}{into}{seen}", quoted(name, NAME)));
        }
        Event::Code { peer, code } if !detail.live => {
            told.log.push(format!("code with {}: {}", called(peer, NAME), one_line(&spaced(code), 20)));
        }
        Event::Peer { peer, label } => {
            let who = called(peer, NAME);
            let what = match (peer.dialect, peer.name.is_empty()) {
                (Dialect::Web, false) => "a phone opened the page",
                (Dialect::Web, true) => "a one-time path is used",
                (Dialect::Native | Dialect::Classic, _) => "paired",
            };
            told.log.push(format!("{what}: {who} {}, {}", style.dim(&one_line(&peer.id, 40)), style.label(*label)));
            told.short = Some(format!("{what}: {who}"));
        }
        Event::Offer(offer) if !detail.live || detail.verbose => {
            let label = style.label(offer.label);
            told.log.push(format!("offered: {}, with {} ({label})", contents(offer), called(&offer.peer, NAME)));
        }
        Event::Accepted { transfer } if detail.verbose => {
            let who = transfers.find(transfer).map(|found| called(&found.offer.peer, NAME)).unwrap_or_default();
            told.log.push(format!("accepted: {who}"));
        }
        Event::Refused { reason, .. } => {
            let who = ended.map(|ended| called(&ended.offer.peer, NAME)).unwrap_or_default();
            told.log.push(format!("{} {who}: {}", style.warn("refused"), one_line(reason, MESSAGE)));
            told.short = Some(format!("refused {who}"));
        }
        Event::Stored { transfer, name, offered, bytes, .. } => {
            let label = transfers.find(transfer).map(|found| found.offer.label);
            let leaf = name.rsplit('/').next().unwrap_or(name);
            let size = || human_bytes(*bytes);
            // A million of them may come, and without a panel nobody sees it.
            told.short = detail.live.then(|| format!("{} {} {}", done(style, label), one_line(leaf, 24), size()));
            if detail.verbose {
                told.log.push(format!("stored {} {}", quoted(name, NAME), size()));
            } else if name != offered {
                let (offered, name) = (quoted(offered, NAME), quoted(name, NAME));
                told.log.push(format!("{offered} is stored as {name}"));
            }
        }
        Event::Text { transfer, text } => {
            let who = transfers.find(transfer).map(|found| called(&found.offer.peer, NAME)).unwrap_or_default();
            let mut lines = text.lines();
            told.log.push(format!("text {who}:"));
            told.log.extend(lines.by_ref().take(TEXT_LINES).map(|line| format!("  | {}", one_line(line, 4_000))));
            let more = lines.count() as u64;
            if more > 0 {
                told.log.push(format!("  … and {more} more lines"));
            }
            told.short = Some(format!("text {who}"));
        }
        Event::Retry { from_bytes, reason, .. } => {
            let kept = human_bytes(*from_bytes);
            told.log.push(format!("{}: {}, {kept} are kept", style.warn("trying again"), one_line(reason, MESSAGE)));
            told.short = Some(style.warn("trying again"));
        }
        Event::Skipped { name, reason, .. } => {
            let reason = one_line(reason, MESSAGE);
            told.log.push(format!("{} {}: {reason}", style.warn("left out"), quoted(name, NAME)));
        }
        Event::Finished { files: count, bytes, seconds, label, .. } => {
            let summary = finished(ended, *count, *bytes, *seconds, *label, folder, style);
            told.log.push(summary);
            let who = ended.map(|ended| called(&ended.offer.peer, 16)).unwrap_or_default();
            told.short =
                Some(format!("{} {}, {} {who}", done(style, Some(*label)), files(*count), human_bytes(*bytes)));
        }
        Event::Failed { failure, .. } => {
            let who = ended.map(|ended| called(&ended.offer.peer, NAME));
            told.log = failed(failure, who.as_deref(), style);
            told.short = Some(format!("{} {}", style.bad("✗"), one_line(&failure.message, 80)));
            told.urgent = true;
        }
        Event::Remembered { peer } => {
            let text =
                format!("{} {} is remembered: no code to compare from now on", style.good("✓"), called(peer, NAME));
            told.log.push(format!("{text} {}", style.dim(&one_line(&peer.id, 40))));
            told.short = Some(format!("remembered: {}", called(peer, NAME)));
        }
        Event::NotRemembered { peer, reason } => {
            let reason = one_line(reason, MESSAGE);
            told.log.push(format!("{} {}: {reason}", style.warn("not remembered:"), called(peer, NAME)));
        }
        Event::Optimized { name, before, after, what, .. } if detail.verbose => {
            let (name, what) = (quoted(name, NAME), one_line(what, MESSAGE));
            told.log.push(match after == before {
                true => format!("left as it is {name}: {what}"),
                false => format!("{name} {} → {}, {what}", human_bytes(*before), human_bytes(*after)),
            });
        }
        Event::Finding(finding) => {
            told.log = found(finding, style);
            told.urgent = finding.verdict == Verdict::Bad;
        }
        Event::Message { by, text, time, .. } => {
            let who = speaker(by, style);
            let mut lines = text.lines();
            let first = one_line(lines.next().unwrap_or_default(), MESSAGE);
            told.short = Some(format!("{who} {first}"));
            told.log.push(format!("{} {who} {first}", style.dim(&clock(*time))));
            told.log
                .extend(lines.by_ref().take(MESSAGE_LINES).map(|line| format!("      | {}", one_line(line, MESSAGE))));
            let more = lines.count() as u64;
            if more > 0 {
                told.log.push(format!("      … and {} more lines", grouped(more)));
            }
        }
        Event::Joined { by } if !by.own => {
            let mark = style.dim(&one_line(&by.id, 40));
            let double = if by.double { ", called like somebody else here" } else { "" };
            told.log.push(format!("{} is here {mark}{}", speaker(by, style), style.warn(double)));
            told.short = Some(format!("{} is here", speaker(by, style)));
        }
        Event::Left { by } if !by.own => {
            told.log.push(format!("{} has left", speaker(by, style)));
            told.short = Some(format!("{} has left", speaker(by, style)));
        }
        Event::Shared(offer) => {
            told.log.push(shared(offer, style));
            told.short = Some(format!("#{} {}", offer.offer, one_line(&offer.name, NAME)));
        }
        Event::Unshared { offer } => told.log.push(format!("#{offer} is no longer offered")),
        Event::Room { members, offers, missed } => {
            let names: Vec<String> = members.iter().map(|member| listed(member, style)).collect();
            told.log.push(format!("{} here: {}", grouped(members.len() as u64), names.join(", ")));
            told.log.extend(offers.iter().map(|offer| shared(offer, style)));
            if *missed > 0 {
                told.log.push(style.warn(&format!("{} lines were missed", grouped(*missed))));
            }
        }
        Event::Cut { reason } => {
            told.log.push(format!("{}: {}; trying again", style.warn("cut off"), one_line(reason, MESSAGE)));
            told.short = Some(style.warn("cut off, trying again"));
        }
        Event::Closed { reason } if detail.verbose || !detail.live => {
            told.log.push(format!("closed: {}", one_line(reason, MESSAGE)));
        }
        _ => {}
    }
    told
}

/// A member of a room: by name, and by its key where another one has the same name.
fn speaker(by: &Speaker, style: Style) -> String {
    let name = quoted(&by.from, 32);
    let name = if by.own { style.accent(&name) } else { style.bold(&name) };
    if by.double { format!("{name} {}", style.warn(&one_line(&by.id, 40))) } else { name }
}

/// The same in a list, with what `/remove` takes.
fn listed(by: &Speaker, style: Style) -> String {
    let own = if by.own { ", you" } else { "" };
    format!("{} ({}{own})", speaker(by, style), by.member)
}

fn shared(offer: &RoomOffer, style: Style) -> String {
    let what = match offer.files {
        1 => human_bytes(offer.bytes),
        count => format!("{}, {}", files(count.into()), human_bytes(offer.bytes)),
    };
    let take =
        if offer.by.own { String::new() } else { format!(": {}", style.accent(&format!("/get {}", offer.offer))) };
    let what = if offer.relayed { format!("{what}, {}", style.warn("private, not verified")) } else { what };
    format!("#{} {} offers {}, {what}{take}", offer.offer, speaker(&offer.by, style), quoted(&offer.name, NAME))
}

/// Hours and minutes where this machine is.
fn clock(time: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time).unwrap_or_default();
    time.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M").to_string()
}

/// A check mark that does not claim more than the pairing proves.
fn done(style: Style, label: Option<Label>) -> String {
    if label == Some(Label::Verified) { style.good("✓") } else { style.warn("✓") }
}

/// `✓ 1,000 files, 214 MB from "Pixel" in 3.1 s (69 MB/s), verified → /path`.
fn finished(
    ended: Option<&Transfer>,
    count: u64,
    bytes: u64,
    seconds: f64,
    label: Label,
    folder: Option<&str>,
    style: Style,
) -> String {
    let path = ended.and_then(|ended| ended.path.as_deref());
    let who = ended.map_or_else(String::new, |ended| {
        let way = if path.is_some() || folder.is_some() { "from" } else { "to" };
        format!(" {way} {}", called(&ended.offer.peer, NAME))
    });
    let seconds = if seconds.is_finite() { seconds.max(0.0) } else { 0.0 };
    // Below that the clock measures itself.
    let rate = if seconds >= 0.01 { format!(" ({})", human_rate(bytes as f64 / seconds)) } else { String::new() };
    let place = match (count, path, folder) {
        (1, Some(path), _) => Some(path),
        (_, Some(_), Some(folder)) => Some(folder),
        (_, Some(path), None) => path.rsplit_once('/').map(|(parent, _)| parent),
        (_, None, _) => None,
    };
    let place = place.map_or_else(String::new, |place| format!(" → {}", one_line(place, MESSAGE)));
    // The tutorial's receiver never says what it stored.
    let sent_only = path.is_none() && ended.is_some_and(|ended| ended.offer.peer.dialect == Dialect::Classic);
    let place = if sent_only { "; sent, not confirmed".to_owned() } else { place };
    let what = match ended.map(|ended| contents(&ended.offer)) {
        Some(text) if text == A_TEXT => text,
        _ => format!("{}, {}", files(count), human_bytes(bytes)),
    };
    format!(
        "{} {what}{who} in {}{rate}, {}{place}",
        done(style, Some(label)),
        human_duration(seconds),
        style.label(label),
    )
}

/// `✓ port        5001 is free`, and below it, in the same column, what to try.
fn found(finding: &Finding, style: Style) -> Vec<String> {
    let mark = match finding.verdict {
        Verdict::Good => style.good("✓"),
        Verdict::Odd => style.warn("!"),
        Verdict::Bad => style.bad("✗"),
    };
    let sentence = |text: &str| wrapped(&one_line(text, MESSAGE), FINDING);
    let remedy = if finding.remedy.is_empty() { Vec::new() } else { sentence(&finding.remedy) };
    // Each in one piece, to be copied.
    let commands = finding.command.iter().flat_map(|command| command.split(" && "));
    let commands = commands.map(|command| format!("  {}", style.accent(&one_line(command, MESSAGE))));
    let lines = sentence(&finding.message).into_iter().chain(remedy.iter().map(|line| style.dim(line))).chain(commands);
    let head = format!("{mark} {}", padded(finding.check.word(), 12));
    lines
        .enumerate()
        .map(|(at, line)| if at == 0 { format!("{head} {line}") } else { format!("{:15}{line}", "") })
        .collect()
}

/// What happened and whose fault it is, then what to try.
pub(super) fn failed(failure: &Failure, who: Option<&str>, style: Style) -> Vec<String> {
    let who = who.map_or_else(String::new, |who| format!("{who}: "));
    let mut lines = vec![format!("{} {who}{}", style.bad("error:"), one_line(&failure.message, MESSAGE))];
    if !failure.hint.is_empty() {
        lines.push(format!("{} {}", style.accent("hint:"), one_line(&failure.hint, MESSAGE)));
    }
    lines
}
