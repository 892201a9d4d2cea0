//! `--optimize-images`, `--optimize-pdfs` and `--strip-location`: what is sent in place of what is on the disk.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Failed, disk, failed};
use crate::events::{Event, ExitCode, Failure, Reporter};
use crate::names::human_bytes;
use crate::optimize::{Change, Optimizer, Outcome, Wishes};
use crate::roll::Kept;
use crate::store::{LeftOut, Scratch, SourceEntry, SourceKind, SourceList, StateDir, Walk};
use crate::ui::Ui;

/// How often progress is told.
const PROGRESS: Duration = Duration::from_millis(250);

/// What is to be sent.
pub(super) struct Ready {
    pub(super) walked: Walk,
    /// Where the content of some of it is, for as long as this lives.
    pub(super) scratch: Option<Arc<Scratch>>,
}

/// Does to each file of `walked` what is wished, and tells it; `None` if it was interrupted. A file that can't be made
/// smaller goes as it is; one whose location can't be removed is left out.
///
/// # Errors
/// There is no place for what is to stand in.
pub(super) async fn run(
    mut walked: Walk,
    wishes: Wishes,
    state: Option<&Path>,
    ui: &Arc<Ui>,
    reporter: &Arc<dyn Reporter>,
    mut interrupted: watch::Receiver<bool>,
) -> Result<Option<Ready>, Failed> {
    let scratch = StateDir::open(state).and_then(|state| Scratch::new(&state)).map_err(|error| disk(&error))?;
    let program = own_program().map_err(|error| {
        let message = format!("this program can't find itself to make files smaller: {error}");
        failed(Failure::new(ExitCode::Internal, message, "start it by its whole path"))
    })?;
    let (scratch, optimizer) = (Arc::new(scratch), Arc::new(Optimizer::new(program, wishes)));
    let entries = std::mem::take(&mut walked.entries);
    let mut files = entries.iter().enumerate().filter(|(_, entry)| entry.kind == SourceKind::File);
    let mut tally = Tally::new(reporter, &entries);
    let (mut stand_ins, mut tasks) = (HashMap::new(), JoinSet::new());
    loop {
        while tasks.len() < optimizer.at_once()
            && let Some((place, entry)) = files.next()
        {
            let (optimizer, scratch) = (Arc::clone(&optimizer), Arc::clone(&scratch));
            tasks.spawn(async move {
                let made = make(&entry, place, &optimizer, &scratch).await;
                (place, entry, made)
            });
        }
        let made = tokio::select! {
            made = tasks.join_next() => made,
            _ = interrupted.wait_for(|interrupted| *interrupted) => {
                // Its processes end, and with them the last of those who write to the folder.
                tasks.shutdown().await;
                return Ok(None);
            }
        };
        let Some(made) = made else { break };
        let Ok((place, entry, Some(made))) = made else { continue };
        tally.add(&entry, &made);
        stand_ins.insert(place, made);
    }
    tally.finish(ui);
    let mut leave_out =
        |entry: &SourceEntry, reason| walked.left_out.push(LeftOut { path: entry.path.clone(), reason });
    let stands_in = |(place, entry): (usize, Kept<SourceEntry>)| match stand_ins.remove(&place) {
        Some(Made::StandIn { entry, .. }) => Some(entry),
        Some(Made::LeftOut(reason)) => {
            leave_out(&entry, reason);
            None
        }
        None if wishes.strip_location && entry.kind == SourceKind::File => {
            leave_out(&entry, "its location could not be looked for".to_owned());
            None
        }
        Some(Made::AsItIs(_)) | None => Some(SourceEntry::clone(&entry)),
    };
    walked.entries = entries.iter().enumerate().filter_map(stands_in).collect();
    Ok(Some(Ready { walked, scratch: Some(scratch) }))
}

/// What is known of one file.
enum Made {
    AsItIs(Option<String>),
    StandIn { entry: SourceEntry, format: &'static str, change: Change },
    LeftOut(String),
}

/// `None` if something came in between: nothing is known of it then. Of a source that has changed that is told when it is
/// to be sent.
async fn make(entry: &SourceEntry, place: usize, optimizer: &Optimizer, scratch: &Scratch) -> Option<Made> {
    let name = place.to_string();
    let source = entry.open().ok()?;
    let handle = source.handle().ok()?;
    let outcome = optimizer.make(handle, || scratch.file(&name)).await;
    let path = scratch.path().join(&name);
    Some(match outcome {
        Outcome::Made { format, change } => {
            let entry = source.check_unchanged().and_then(|()| entry.with_content_of(&path)).ok()?;
            Made::StandIn { entry, format, change }
        }
        Outcome::AsItIs(why) => {
            scratch.remove(&name);
            Made::AsItIs(why)
        }
        Outcome::LocationStays(format) => {
            scratch.remove(&name);
            Made::LeftOut(format!("its location can't be removed ({format})"))
        }
    })
}

/// This very program, also when another one has taken its place on the disk.
fn own_program() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() }
}

/// What is told of all.
struct Tally<'a> {
    reporter: &'a Arc<dyn Reporter>,
    told: Instant,
    total: u64,
    sums: Sums,
}

/// Bytes, and numbers of files.
#[derive(Default)]
struct Sums {
    done: u64,
    smaller: u64,
    of: u64,
    before: u64,
    after: u64,
    locations: u64,
    left_out: u64,
}

impl Sums {
    fn weigh(&mut self, before: u64, after: u64) {
        self.of += 1;
        self.smaller += u64::from(after < before);
        self.before = self.before.saturating_add(before);
        self.after = self.after.saturating_add(after);
    }
}

impl<'a> Tally<'a> {
    fn new(reporter: &'a Arc<dyn Reporter>, entries: &SourceList) -> Tally<'a> {
        let total = entries.bytes().unwrap_or(u64::MAX);
        // From here on the rate is measured.
        reporter.tell(Event::Optimizing { bytes: 0, total });
        Tally { reporter, told: Instant::now(), total, sums: Sums::default() }
    }

    fn add(&mut self, entry: &SourceEntry, made: &Made) {
        let sums = &mut self.sums;
        sums.done = sums.done.saturating_add(entry.bytes);
        if self.told.elapsed() >= PROGRESS && sums.done < self.total {
            self.told = Instant::now();
            self.reporter.tell(Event::Optimizing { bytes: sums.done, total: self.total });
        }
        let (format, after, what, location_removed) = match made {
            Made::AsItIs(None) => return,
            Made::AsItIs(Some(why)) => {
                sums.weigh(entry.bytes, entry.bytes);
                (None, entry.bytes, why.clone(), false)
            }
            Made::StandIn { entry: stand_in, format, change } => {
                if change.recoded || change.packed {
                    sums.weigh(entry.bytes, stand_in.bytes);
                }
                sums.locations += u64::from(change.location_removed);
                (Some(*format), stand_in.bytes, words(*change), change.location_removed)
            }
            Made::LeftOut(_) => {
                sums.left_out += 1;
                return;
            }
        };
        let (name, before) = (entry.offered.clone(), entry.bytes);
        self.reporter.tell(Event::Optimized { name, format, before, after, what, location_removed });
    }

    fn finish(&self, ui: &Ui) {
        self.reporter.tell(Event::Optimizing { bytes: self.total, total: self.total });
        let Sums { smaller, of, locations, left_out, .. } = self.sums;
        let (before, after) = (human_bytes(self.sums.before), human_bytes(self.sums.after));
        if of > 0 {
            ui.say(&format!("made smaller: {smaller} of {}, {before} → {after}", files(of)));
        }
        if locations > 0 {
            ui.say(&format!("location removed: {}", files(locations)));
        }
        if left_out > 0 {
            ui.say(&format!("left out, since the location can't be removed: {}", files(left_out)));
        }
    }
}

fn files(count: u64) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

fn words(change: Change) -> String {
    let done = [
        (change.scaled, "scaled down"),
        (change.recoded, "encoded again"),
        (change.packed, "packed without loss"),
        (change.location_removed, "location removed"),
    ];
    let done: Vec<&str> = done.into_iter().filter_map(|(is_done, word)| is_done.then_some(word)).collect();
    if done.is_empty() { "freed of what may hold a location".to_owned() } else { done.join(", ") }
}
