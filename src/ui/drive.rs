//! The two threads of the terminal: one draws, one reads keys. All they share is one [`Screen`] behind a lock, which
//! is never held while the terminal is waited for.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossterm::event::{self, Event as Input};

use crate::ui::screen::{Effect, Screen};
use crate::ui::style::Surroundings;
use crate::ui::terminal::{self, Canvas};

/// Between two frames. The eye sees no more, and a flood of events costs no more than this.
const FRAME: Duration = Duration::from_millis(40);

/// How long a key is waited for before the reader looks whether one is still wanted.
const KEY: Duration = Duration::from_millis(50);

/// How long leaving waits for a terminal that takes nothing.
const LEAVE: Duration = Duration::from_secs(2);

/// How long Ctrl-Z gives the drawing thread to take the region away, and the signal to stop every thread.
const PARK: Duration = Duration::from_millis(200);

/// What a line may go on with, each as the whole line up to the cursor, given what stands before the cursor.
pub type Complete = Arc<dyn Fn(&str) -> Vec<String> + Send + Sync>;

/// The screen and who waits for it.
pub(super) struct Shared {
    state: Mutex<State>,
    complete: Mutex<Option<Complete>>,
    changed: Condvar,
}

struct State {
    screen: Screen,
    /// The region is off the terminal because the screen is parked.
    away: bool,
    drawer_done: bool,
    reader_done: bool,
}

/// Starts drawing; reading too, if there is a terminal.
pub(super) fn start(screen: Screen, around: Surroundings) -> Arc<Shared> {
    let live = screen.live;
    let state = State { screen, away: false, drawer_done: false, reader_done: !around.terminal };
    let shared = Arc::new(Shared { state: Mutex::new(state), complete: Mutex::default(), changed: Condvar::new() });
    let theirs = Arc::clone(&shared);
    let canvas = Canvas::new(io::stderr(), live, &around);
    // A machine that can start no thread shows nothing; the transfer goes on.
    if thread::Builder::new().name("qrdrop-screen".into()).spawn(move || theirs.draw(canvas)).is_err() {
        shared.lock().drawer_done = true;
    }
    if around.terminal {
        let theirs = Arc::clone(&shared);
        if thread::Builder::new().name("qrdrop-keys".into()).spawn(move || theirs.read()).is_err() {
            shared.lock().reader_done = true;
        }
    }
    shared
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who helps with the line that is typed.
    pub(super) fn complete_with(&self, complete: Complete) {
        *self.complete.lock().unwrap_or_else(PoisonError::into_inner) = Some(complete);
    }

    /// The folder that is looked into may be slow; only the keys wait for it.
    fn complete(&self, before: &str) {
        let complete = self.complete.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(complete) = complete {
            let candidates = complete(before);
            self.change(|screen| screen.complete(before, candidates));
        }
    }

    /// Changes the screen and wakes who draws it.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Screen) -> T) -> T {
        let mut state = self.lock();
        let before = (state.screen.dirty, state.screen.closing, state.screen.wants_keys());
        let result = change(&mut state.screen);
        state.screen.dirty = true;
        // Who draws has been woken by the first of many changes, and needs no other call for the rest.
        if before != (true, state.screen.closing, state.screen.wants_keys()) {
            self.changed.notify_all();
        }
        result
    }

    pub(super) fn is_live(&self) -> bool {
        self.lock().screen.live
    }

    /// Ends both threads and raw mode.
    pub(super) fn finish(&self) {
        self.change(|screen| screen.closing = true);
        let state = self.lock();
        let busy = |state: &mut State| !(state.drawer_done && state.reader_done);
        drop(self.changed.wait_timeout_while(state, LEAVE, busy).unwrap_or_else(PoisonError::into_inner));
        terminal::leave_raw();
    }

    fn draw(&self, mut canvas: Canvas<io::Stderr>) {
        loop {
            let size = terminal::size();
            let now = Instant::now();
            let mut state = self.lock();
            if terminal::panicked() && state.screen.live {
                state.screen.live = false;
                canvas.give_up_region();
            }
            let work = state.screen.work(size, now);
            let (parked, closing) = (state.screen.parked, state.screen.closing);
            drop(state);

            canvas.paint(&work.log, work.rows.clone(), size);
            if let Some(text) = &work.copied {
                canvas.copy(text);
            }
            let mut state = self.lock();
            state.screen.painted(&work, Instant::now());
            state.away = parked;
            if closing {
                state.drawer_done = true;
                self.changed.notify_all();
                return;
            }
            if parked {
                self.changed.notify_all();
            }
            let rest = state.screen.rest(now);
            let idle = |state: &mut State| !state.screen.dirty;
            let waited = self.changed.wait_timeout_while(state, rest, idle).unwrap_or_else(PoisonError::into_inner);
            // One frame after another, but nobody waits for the last one.
            let open = |state: &mut State| !state.screen.closing;
            let pause = FRAME.saturating_sub(now.elapsed());
            drop(self.changed.wait_timeout_while(waited.0, pause, open).unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn read(&self) {
        loop {
            let state = self.lock();
            let unwanted = |state: &mut State| !state.screen.wants_keys() && !state.screen.closing;
            let mut state = self.changed.wait_while(state, unwanted).unwrap_or_else(PoisonError::into_inner);
            if state.screen.closing {
                state.reader_done = true;
                self.changed.notify_all();
                return;
            }
            drop(state);
            let ended = !terminal::enter_raw() || self.read_while_wanted().is_err();
            terminal::leave_raw();
            if ended {
                // No key will ever come: every question is a No from now on, and what waits is not kept waiting.
                let mut state = self.lock();
                state.screen.end_of_input(Instant::now());
                state.reader_done = true;
                self.changed.notify_all();
                return;
            }
        }
    }

    fn read_while_wanted(&self) -> io::Result<()> {
        while self.lock().screen.wants_keys() {
            if terminal::panicked() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            if !event::poll(KEY)? {
                continue;
            }
            match event::read()? {
                Input::Key(key) => match self.change(|screen| screen.key(key, Instant::now())) {
                    Effect::None => {}
                    Effect::Interrupt => self.interrupt(),
                    Effect::Suspend => self.suspend(),
                    Effect::Complete(before) => self.complete(&before),
                },
                Input::Resize(..) => self.change(|_| ()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Ctrl-C reaches the process group as outside raw mode, so that it has one meaning.
    #[cfg(unix)]
    fn interrupt(&self) {
        // Fails for no process that may signal itself.
        let _ = rustix::process::kill_current_process_group(rustix::process::Signal::INT);
    }

    /// Without signals it says No to whatever is asked.
    #[cfg(not(unix))]
    fn interrupt(&self) {
        self.change(|screen| screen.end_of_input(Instant::now()));
    }

    /// What the terminal does at Ctrl-Z outside raw mode, with the region taken away meanwhile.
    fn suspend(&self) {
        self.change(|screen| screen.parked = true);
        let showing = |state: &mut State| !state.away;
        let state = self.lock();
        drop(self.changed.wait_timeout_while(state, PARK, showing).unwrap_or_else(PoisonError::into_inner));
        terminal::leave_raw();
        stop();
        // The signal stops the threads one after the other. Raw mode set before this one is stopped would be undone by
        // the shell, so it is set when there is no doubt; the clock goes on while the process is stopped.
        thread::sleep(PARK);
        terminal::enter_raw();
        self.change(|screen| screen.parked = false);
    }
}

/// As the terminal does it outside raw mode.
#[cfg(unix)]
fn stop() {
    // Fails for no process that may signal itself.
    let _ = rustix::process::kill_current_process_group(rustix::process::Signal::TSTP);
}

/// There is no such thing.
#[cfg(not(unix))]
fn stop() {}
