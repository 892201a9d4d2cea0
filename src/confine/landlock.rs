use std::fs::{self, File};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::thread;

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope, make_bitflags,
};

use super::limits::{Limits, Unheld};

/// The newest edition of Landlock that these limits were tried with; what later ones can take away stays.
const TRIED: ABI = ABI::V6;

const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});
const KEEP: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | ReadDir | WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | RemoveDir | Refer
});
const DEVICE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | WriteFile | IoctlDev});

pub(super) fn enforce(limits: &Limits) -> Result<(), Unheld> {
    if !limits.keeps.is_empty() {
        try_out(limits.clone())?;
    }
    restrict(limits)
}

/// On a thread that ends, since limits can't be taken back: whether the folders stay open under them.
fn try_out(limits: Limits) -> Result<(), Unheld> {
    let trial = move || {
        // Where everything may be read, that they can be opened proves nothing.
        restrict(&Limits { reads_anything: false, ..limits.clone() })?;
        limits.keeps.iter().try_for_each(|path| File::open(path).map(drop).map_err(|_| Unheld::Unfit))
    };
    let trial = thread::Builder::new().spawn(trial).map_err(|error| Unheld::Refused(error.to_string()))?;
    trial.join().unwrap_or(Err(Unheld::Unfit))
}

fn restrict(limits: &Limits) -> Result<(), Unheld> {
    let free = if limits.reads_anything { READ } else { BitFlags::EMPTY };
    let handled = AccessFs::from_all(TRIED) & !free;
    let mut rules = rules(handled).map_err(refused)?;
    let (must, may) = (true, false);
    let all = [
        (&limits.keeps, KEEP, must),
        (&limits.media, KEEP, may),
        (&limits.reads, READ, may),
        (&limits.devices, DEVICE, may),
    ];
    for (paths, access, must) in all {
        for path in paths {
            rules = match rule(path, access & handled) {
                Some(rule) => rules.add_rule(rule).map_err(refused)?,
                None if must => return Err(Unheld::Refused(format!("`{}` can't be reached", path.display()))),
                None => rules,
            };
        }
    }
    match rules.restrict_self().map_err(refused)?.ruleset {
        RulesetStatus::NotEnforced => Err(Unheld::Unable),
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
    }
}

/// No rules yet, and so all of `handled` forbidden.
fn rules(handled: BitFlags<AccessFs>) -> Result<RulesetCreated, landlock::RulesetError> {
    Ruleset::default()
        // Before 5.19 no file can be moved from one folder to another, which is how it gets its name: then rather nothing.
        .set_compatibility(CompatLevel::SoftRequirement)
        .handle_access(AccessFs::Refer)?
        // Beside that an older kernel does what it can.
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(handled)?
        // Not signals: Ctrl-Z stops everybody in a pipeline.
        .scope(Scope::AbstractUnixSocket)?
        .create()
}

/// `None` where there is nothing to allow: what is not there, and what has no place of its own, as a pipe at `/dev/fd/3`,
/// which the kernel keeps nobody from.
fn rule(path: &Path, access: BitFlags<AccessFs>) -> Option<PathBeneath<PathFd>> {
    let about = fs::metadata(path).ok()?;
    let access = match () {
        () if about.is_dir() => access,
        () if about.is_file() || about.file_type().is_char_device() => access & AccessFs::from_file(TRIED),
        () => return None,
    };
    let place = PathFd::new(path).ok()?;
    (!access.is_empty()).then(|| PathBeneath::new(place, access))
}

fn refused(error: landlock::RulesetError) -> Unheld {
    Unheld::Refused(error.to_string())
}
