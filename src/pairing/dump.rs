//! What remains of a process that dies.

/// Keeps the memory of this process, and the secrets in it, out of core dumps for as long as it runs: on Linux it is marked
/// as not dumpable, which also closes it to the debuggers of its own user (`PR_SET_DUMPABLE`, prctl(2)); on other Unix
/// systems it may write no core file. What it starts is not touched on Linux. Windows dumps nothing unless it was set up to.
///
/// A system that refuses leaves everything as it was: no secret here outlives its session by much.
pub fn leave_no_dump() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    #[cfg(all(unix, not(target_os = "linux")))]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};

        let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    }
}
