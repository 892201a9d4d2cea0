//! Standard output: events as one JSON object a line, and the lines of `list`.
//!
//! A thread of its own writes, so a reader that does not read (a paused pipe) stops nothing else. While it is paused,
//! progress is left out; everything else waits, up to a bound. A closed reader is no error of ours: what is left is
//! thrown away.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::events::Event;
use crate::names::json_line;

/// From here on progress is left out: at four a second for each of 50 transfers this is more than a second behind.
const PROGRESS_WAITS_BELOW: usize = 256;

/// Bytes written at once, if so many wait: ten thousand small files are as many lines, of which a call each would cost
/// more than storing some of them.
const WRITTEN_AT_ONCE: usize = 64 * 1024;

/// How long a line waits for others, if one was written just before: to wake the thread that writes costs more than the line.
const GATHERED: Duration = Duration::from_millis(2);

/// Bytes that may wait for a paused reader: some 200,000 `stored` lines; beyond, lines are lost and counted.
const WAITING_BYTES: usize = 64 * 1024 * 1024;

#[derive(Default)]
struct Queue {
    lines: VecDeque<String>,
    bytes: usize,
    lost: u64,
    closing: bool,
}

/// The queue in front of standard output and the thread behind it.
pub(super) struct Output {
    shared: Arc<(Mutex<Queue>, Condvar)>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Output {
    /// Starts the thread that writes to `sink`.
    pub(super) fn start(sink: impl Write + Send + 'static) -> Self {
        let shared = Arc::new((Mutex::new(Queue::default()), Condvar::new()));
        let theirs = Arc::clone(&shared);
        let writer = thread::Builder::new().name("qrdrop-stdout".into()).spawn(move || write_all(&theirs, sink)).ok();
        Output { shared, writer: Mutex::new(writer) }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an event.
    pub(super) fn event(&self, event: &Event) {
        if matches!(event, Event::Progress { .. }) && self.queue().lines.len() >= PROGRESS_WAITS_BELOW {
            return;
        }
        self.push(json_line(event));
    }

    /// Queues a line that ends with its newline.
    pub(super) fn push(&self, line: String) {
        let mut queue = self.queue();
        if queue.bytes + line.len() > WAITING_BYTES {
            queue.lost += 1;
            return;
        }
        queue.bytes += line.len();
        queue.lines.push_back(line);
        if queue.lines.len() == 1 {
            self.shared.1.notify_one();
        }
    }

    /// Waits until all is written or the reader is gone; says how many lines were lost. A paused reader is waited for,
    /// as any program does that writes to a pipe.
    pub(super) fn finish(&self) -> u64 {
        self.queue().closing = true;
        self.shared.1.notify_one();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // A panic of the writer was told when it happened.
            let _ = writer.join();
        }
        self.queue().lost
    }
}

fn write_all((queue, changed): &(Mutex<Queue>, Condvar), mut sink: impl Write) {
    let (mut open, mut written, mut lines) = (true, None::<Instant>, String::new());
    loop {
        {
            let queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            let idle = |queue: &mut Queue| queue.lines.is_empty() && !queue.closing;
            let queue = changed.wait_while(queue, idle).unwrap_or_else(PoisonError::into_inner);
            let rest = written.map_or(Duration::ZERO, |written| GATHERED.saturating_sub(written.elapsed()));
            let gathers = |queue: &mut Queue| queue.bytes < WRITTEN_AT_ONCE && !queue.closing;
            let gathered = changed.wait_timeout_while(queue, rest, gathers);
            let (mut queue, _) = gathered.unwrap_or_else(PoisonError::into_inner);
            let Some(first) = queue.lines.pop_front() else { return };
            lines.clear();
            // One of them may have been long.
            lines.shrink_to(WRITTEN_AT_ONCE);
            lines.push_str(&first);
            while let Some(line) = queue.lines.front()
                && lines.len() + line.len() <= WRITTEN_AT_ONCE
            {
                lines.push_str(line);
                queue.lines.pop_front();
            }
            queue.bytes -= lines.len();
        }
        // Nothing stays behind: a script acts on each line as it comes. After the first error nobody reads any more.
        open = open && sink.write_all(lines.as_bytes()).and_then(|()| sink.flush()).is_ok();
        written = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc;

    use super::*;
    use crate::names::is_hidden_char;

    fn text(text: &str) -> Event {
        Event::Text { transfer: "1".into(), text: text.into() }
    }

    fn progress(bytes: u64) -> Event {
        Event::Progress { transfer: "1".into(), bytes, total: None }
    }

    #[test]
    fn control_c1_and_bidi_characters_are_escaped() {
        let line = json_line(&text("a\u{1b}[2J\n\u{9b}\u{7f}\u{202e}\u{2066}\u{feff}\u{2028}\u{e0041}é日\"\\"));
        assert_eq!(
            line,
            "{\"event\":\"text\",\"transfer\":\"1\",\"text\":\"a\\u001b[2J\\n\\u009b\\u007f\\u202e\\u2066\\ufeff\\u2028\
             \\udb40\\udc41é日\\\"\\\\\"}\n"
        );
        assert!(!line.trim_end().chars().any(is_hidden_char));
    }

    #[test]
    fn an_escaped_line_still_says_the_same() {
        let said = "a\u{1b}\u{202e}\u{e0041}\u{9b}";
        let value: serde_json::Value = serde_json::from_str(&json_line(&text(said))).unwrap();
        assert_eq!(value["text"], said);
    }

    /// A reader that takes nothing until it is told to, then everything.
    struct Paused {
        resume: mpsc::Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Paused {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Fails at once when the test dropped its end: from then on nothing blocks.
            let _ = self.resume.recv();
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_paused_reader_blocks_nobody_and_loses_progress_alone() {
        let (resume, paused) = mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let output = Output::start(Paused { resume: paused, written: Arc::clone(&written) });
        for round in 0..10_000 {
            output.event(&progress(round));
            if round % 10 == 0 {
                output.event(&text("kept"));
            }
        }
        drop(resume);
        assert_eq!(output.finish(), 0);
        let written = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert_eq!(written.matches("kept").count(), 1_000);
        assert!(written.matches("progress").count() < 1_000);
    }

    #[test]
    fn what_a_paused_reader_may_leave_waiting_is_bounded() {
        let (resume, paused) = mpsc::channel();
        let output = Output::start(Paused { resume: paused, written: Arc::default() });
        output.push("first\n".into());
        for _ in 0..70 {
            output.push("x".repeat(1024 * 1024));
        }
        assert!(output.queue().bytes <= WAITING_BYTES);
        drop(resume);
        assert!(output.finish() >= 5);
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_reader_is_no_panic() {
        let output = Output::start(Closed);
        (0..1_000).for_each(|_| output.event(&text("x")));
        assert_eq!(output.finish(), 0);
    }
}
