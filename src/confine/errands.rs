use std::fmt;
use std::io;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::thread;

type Errand = Box<dyn FnOnce() + Send>;

/// Does what [`Limits`](super::Limits) would forbid, and a person asked for at the start: files and commands named on the
/// command line.
///
/// It is a thread of this process: it holds against code of ours that is led to the wrong path, not against a stranger's
/// that runs. So there is one only where it is needed.
#[derive(Clone, Default)]
pub struct Errands(Option<Sender<Errand>>);

impl Errands {
    /// Of a process without limits: whoever asks does it itself.
    pub fn here() -> Errands {
        Errands(None)
    }

    /// Of a process that is going to have limits: a thread that stays outside of them.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn outside() -> io::Result<Errands> {
        let (errands, asked) = channel::<Errand>();
        let work = move || asked.into_iter().for_each(|errand| errand());
        thread::Builder::new().name("qrdrop-errands".into()).spawn(work)?;
        Ok(Errands(Some(errands)))
    }

    /// Has `errand` done, one after the other, and waits for it.
    pub fn run<T: Send + 'static>(&self, errand: impl FnOnce() -> T + Send + 'static) -> T {
        /// An errand that panics takes down the one who asked for it as well.
        const ANSWERED: &str = "the thread of errands outlives everybody who can ask it";
        let Some(errands) = &self.0 else { return errand() };
        let (done, answer) = sync_channel(1);
        // It is waited for, so there is somebody to take what it sends.
        errands.send(Box::new(move || drop(done.send(errand())))).expect(ANSWERED);
        answer.recv().expect(ANSWERED)
    }
}

impl fmt::Debug for Errands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Errands::outside" } else { "Errands::here" })
    }
}
